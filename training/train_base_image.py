"""Train a small image base of exactly SDXL's layout, from captioned renders to a pipeline folder.

It runs in two parts, the autoencoder (which may see more folders than the recipe's own, in both
manners) and then the UNet with its text encoders.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from training.run.stage import alone_in, run_stage

TOKENIZERS = Path(__file__).parents[1] / "engine" / "models" / "jewel-base"


def main(
    recipe_file: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe in TOML.")],
    runs: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    into: Annotated[Path | None, typer.Option(help="Where it goes; else the run's folder.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0: one for each core.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete checkpoints, start over")] = False,
) -> None:
    """Train a small image base; goes on from the last checkpoint."""
    import torch

    from training.base_image import autoencoder, denoiser, resumable_loop
    from training.base_image.base_recipe import BaseRecipe
    from training.base_image.collection import for_autoencoder, load
    from training.base_image.export import export
    from training.base_image.latent_views import views_of
    from training.run.recipe import read_recipe

    recipe = read_recipe(recipe_file, (), BaseRecipe)
    folder = runs / recipe.name
    with alone_in(folder):
        for name in ("autoencoder", "latents", "denoiser") if fresh else ():
            shutil.rmtree(folder / name, ignore_errors=True)
        resumable_loop.threads(threads)
        pictures = for_autoencoder(recipe)
        coding = autoencoder.fit_autoencoder(recipe, folder / "autoencoder", *pictures)
        seen, unseen = load(recipe.pictures)
        coder = coding.averaged().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        assert isinstance(coder, autoencoder.WithPreview)
        count, latents = recipe.denoiser.views, folder / "latents" / f"step-{coding.state.step:06d}"
        views = views_of(recipe, coder, seen, count, latents / f"seen-{count}-of-{len(seen)}.pt")
        unseen_views = views_of(recipe, coder, unseen, 1, latents / f"unseen-{len(unseen)}.pt")
        part = denoiser.fit_denoiser(
            recipe, folder / "denoiser", TOKENIZERS, seen, views, unseen, unseen_views, coder
        )
        model = part.averaged()
        assert isinstance(model, denoiser.Conditioned)
        target = into or folder / "pipeline"
        size = export(model, coder, views.scaling, TOKENIZERS, target)
        print(f"Wrote {target}: {size / 2**20:.1f} MiB of weights")


if __name__ == "__main__":
    run_stage(main)

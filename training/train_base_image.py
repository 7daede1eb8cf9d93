"""Train a small image base of exactly SDXL's layout, from captioned renders to a pipeline folder.

    python -m training.train_base_image training/recipes/jewel-base.toml

It runs in two parts, the autoencoder and then the UNet with its text encoders. Run it again after
an interruption: it goes on from the last checkpoint.
"""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from training.stage import run_stage


def main(
    recipe_file: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe in TOML.")],
    runs: Annotated[Path, typer.Option(help="Where runs are kept.")] = Path("runs"),
    threads: Annotated[int, typer.Option(min=0, help="Threads; 0: one for each core.")] = 0,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete checkpoints, start over")] = False,
) -> None:
    """Train a small image base; goes on from the last checkpoint."""
    from training.base_image import loop
    from training.base_image.autoencoder import fit_autoencoder
    from training.base_image.pictures import load
    from training.base_image.recipe import load_base_recipe

    recipe = load_base_recipe(recipe_file)
    folder = runs / recipe.name
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    loop.threads(threads)
    seen, unseen = load(recipe.pictures)
    fit_autoencoder(recipe, folder / "autoencoder", seen, unseen)


if __name__ == "__main__":
    run_stage(main)

"""Pictures of the class as the base draws it, for prior preservation (Ruiz et al. 2023)."""

import hashlib
from pathlib import Path
from typing import Any

from rich.progress import track

from training.images.data.folder import Picture, read_folder
from training.images.drawing.generation import (
    READERS,
    DrawRequest,
    draw,
    on_device,
    without_lora,
)
from training.images.drawing.grid import save_png
from training.images.recipe import ImageRecipe
from training.images.rights import require_image_training
from training.run.schedule import draw_key


def prior_pictures(
    recipe: ImageRecipe, run: Path, pipeline: Any, resolution: int, device: Any
) -> tuple[Picture, ...]:
    """Take the class pictures of the recipe's folder, or draw them once and keep them in `prior/`."""
    prior = recipe.prior
    if prior.folder:
        folder = Path(prior.folder).expanduser()
        require_image_training(recipe, folder)
        data = recipe.data.model_copy(update={"held_out": 0.0, "limit": 0})
        return read_folder(folder, data, recipe.run.seed, 0.0).train
    seeds = [draw_key(recipe.run.seed, "prior", number) for number in range(prior.pictures)]
    paths = {seed: run / "prior" / f"{name_of(recipe, resolution, seed)}.png" for seed in seeds}
    missing = [seed for seed, path in paths.items() if not path.is_file()]
    if missing:
        parts, tiled = (*READERS, "unet"), recipe.training.low_memory
        with on_device(pipeline, device, parts, tiled), without_lora(pipeline):
            for seed in track(missing, "pictures of the class", transient=True):
                wish = DrawRequest(prior.prompt, seed)
                (picture,) = draw(pipeline, [wish], recipe.validation, resolution)
                save_png(picture, paths[seed])
    return tuple(picture_at(path, prior.prompt) for path in paths.values())


def name_of(recipe: ImageRecipe, resolution: int, seed: int) -> str:
    base, shown, prompt = recipe.base, recipe.validation, recipe.prior.prompt
    words = (base.id, base.revision, prompt, resolution, shown.steps, shown.guidance, seed)
    return hashlib.sha256(repr((words, shown.negative)).encode()).hexdigest()[:32]


def picture_at(path: Path, prompt: str) -> Picture:
    from training.images.data.folder import open_picture

    opened = open_picture(path)
    return Picture(
        path=path,
        name=path.name,
        size=(opened.height, opened.width),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        captions=(prompt,),
        group=path.name,
    )

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
from training.museum.metadata_rows import METADATA
from training.run.json_lines import write_lines
from training.run.schedule import draw_key


def prior_pictures(
    recipe: ImageRecipe, run: Path, pipeline: Any, resolution: int, device: Any
) -> tuple[Picture, ...]:
    """Take the class pictures of the recipe's folder, or draw them once and keep them in `prior/`."""
    prior = recipe.prior
    plain = {"captions": "text", "wording": "{caption}", "instance_prompt": prior.prompt}
    data = recipe.data.model_copy(update={**plain, "held_out": 0.0, "limit": 0})
    if prior.folder:
        folder = Path(prior.folder).expanduser()
        require_image_training(recipe, folder)
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
    folder = run / "prior"
    write_lines(folder / METADATA, [{"file_name": path.name} for path in paths.values()])
    return read_folder(folder, data, recipe.run.seed, 0.0).train


def name_of(recipe: ImageRecipe, resolution: int, seed: int) -> str:
    base, shown, prompt = recipe.base, recipe.validation, recipe.prior.prompt
    words = (base.id, base.revision, prompt, resolution, shown.steps, shown.guidance, seed)
    return hashlib.sha256(repr((words, shown.negative)).encode()).hexdigest()[:32]

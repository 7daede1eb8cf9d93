"""Pictures from a pipeline, each of its own prompt and seed, the same on one kind of device."""

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.progress import track
from torch import Tensor

from engine.backends.diffusion.pipeline import tile
from training.errors import TrainingStopped
from training.images.bases import adapted
from training.images.data.folder import Pictures, read_folder
from training.images.drawing.grid import save_png
from training.images.recipe import ImageRecipe, require_image_training
from training.images.tables import Validation
from training.museum.metadata_rows import METADATA
from training.run.json_lines import write_lines
from training.run.schedule import draw_key

READERS = ("vae", "text_encoder", "text_encoder_2")  # the parts that stand beside the UNet


@dataclass(frozen=True, slots=True)
class DrawRequest:
    prompt: str
    seed: int


def draw(
    pipeline: Any, wishes: Iterable[DrawRequest], shown: Validation, size: int
) -> Iterator[Image.Image]:
    """Draw squares of `size` pixels as a recipe's validation pictures are, one after another."""
    for wish in wishes:
        with torch.no_grad():
            latents = pipeline(
                prompt=wish.prompt,
                negative_prompt=shown.negative or None,
                height=size,
                width=size,
                num_inference_steps=shown.steps,
                guidance_scale=shown.guidance,
                generator=torch.Generator().manual_seed(wish.seed),
                output_type="latent",
            ).images
        yield decoded(pipeline, latents)


def decoded(pipeline: Any, latents: Tensor) -> Image.Image:
    """Decode latents (1, C, h, w) through the VAE in its own precision."""
    vae = pipeline.vae
    with torch.no_grad():
        pixels = vae.decode(latents.to(vae.dtype) / vae.config.scaling_factor).sample[0]
    if not bool(pixels.isfinite().all()):
        raise TrainingStopped(
            "A validation picture came out as not-a-number. Set training.precision to bf16 or fp32, "
            'or base.vae to "madebyollin/sdxl-vae-fp16-fix".'
        )
    array = ((pixels.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    return Image.fromarray(array.cpu().numpy())


@contextmanager
def on_device(
    pipeline: Any, device: Any, parts: Sequence[str] = READERS, tiled: bool = False
) -> Iterator[None]:
    """Have parts of a pipeline on a device while the block lasts; then they go where they were."""
    if tiled:
        tile(pipeline.vae)
    models = [getattr(pipeline, part) for part in parts]
    places = [model.device for model in models]
    for model in models:
        model.to(device)
    try:
        yield
    finally:
        pipeline.vae.disable_tiling()  # what is learnt from is encoded whole
        for model, place in zip(models, places, strict=True):
            model.to(place)


@contextmanager
def without_lora(pipeline: Any) -> Iterator[None]:
    models = adapted(pipeline).values()
    for model in models:
        model.disable_adapters()
    try:
        yield
    finally:
        for model in models:
            model.enable_adapters()


def prior_pictures(
    recipe: ImageRecipe, run: Path, pipeline: Any, resolution: int, device: Any
) -> Pictures:
    """Take the class's pictures from the recipe's folder, or draw them once and keep them in `prior/`.

    A run learns them beside its own, and so keeps the class (prior preservation, Ruiz et al. 2023).
    """
    prior = recipe.prior
    plain = {"captions": "text", "wording": "{caption}", "instance_prompt": prior.prompt}
    data = recipe.data.model_copy(update={**plain, "held_out": 0.0, "limit": 0})
    if prior.folder:
        folder = Path(prior.folder).expanduser()
        require_image_training(recipe, folder)
        return read_folder(folder, data, recipe.run.seed, time.time())
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
    return read_folder(folder, data, recipe.run.seed, time.time())


def name_of(recipe: ImageRecipe, resolution: int, seed: int) -> str:
    base, shown, prompt = recipe.base, recipe.validation, recipe.prior.prompt
    words = (base.id, base.revision, prompt, resolution, shown.steps, shown.guidance, seed)
    return hashlib.sha256(repr((words, shown.negative)).encode()).hexdigest()[:32]

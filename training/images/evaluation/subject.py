"""What is judged: the base, and the LoRA of a run as anyone would load it upon that base."""

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from engine.backends.diffusion.pipeline import tile
from engine.weights.picture_lora import check_lora
from training.errors import NotPublished
from training.images.bases import load_pipeline, noise_schedule, resolution_of
from training.images.data.folder import Pictures, read_folder
from training.images.data.latent_cache import Cache, Embeddings, Latents
from training.images.data.samples import Samples
from training.images.drawing.generation import DrawRequest, draw, without_lora
from training.images.lora_files import WEIGHTS
from training.images.losses import Denoiser, held_out_losses, times_of
from training.images.recipe import ImageRecipe
from training.images.rights import require_image_training
from training.run.schedule import spread


@dataclass(frozen=True, slots=True)
class Subject:
    recipe: ImageRecipe
    run: Path
    pipeline: Any
    pictures: Pictures
    resolution: int
    device: Any

    def drawn(self, wishes: Sequence[DrawRequest], lora: bool) -> Iterator[Image.Image]:
        shown = self.recipe.validation
        if self.recipe.training.low_memory:
            tile(self.pipeline.vae)
        with nullcontext() if lora else without_lora(self.pipeline):
            yield from draw(self.pipeline, wishes, shown, shown.size or self.resolution)

    def held_out(self) -> dict[str, Any]:
        """Measure the held-out loss of base and LoRA, whole and by timestep; empty without pictures."""
        chosen = spread(self.pictures.held_out, self.recipe.validation.pictures)
        if not chosen:
            return {}
        pipeline = self.pipeline
        cache = Cache(self.run / "cache", self.pictures.due)
        latents = Latents(cache, pipeline.vae, self.device)
        embeddings = Embeddings(cache, pipeline, self.device)
        samples = Samples(chosen, self.recipe.data, self.resolution, 1, latents, embeddings)
        schedule = noise_schedule(pipeline)
        denoiser = Denoiser(pipeline.unet, schedule, self.device, pipeline.unet.dtype, embeddings)
        with without_lora(pipeline):
            base = held_out_losses(denoiser, self.recipe, samples)
        lora = held_out_losses(denoiser, self.recipe, samples)
        times = times_of(len(schedule.alphas_cumprod), self.recipe.validation.times)
        return {
            "pictures": len(chosen),
            "times": times,
            "base": {"loss": float(base[1].mean()), "by_time": base[0].tolist()},
            "lora": {"loss": float(lora[1].mean()), "by_time": lora[0].tolist()},
        }


def subject_of(recipe: ImageRecipe, run: Path, base: Path | None = None) -> Subject:
    """Load a run's LoRA upon its base; raises NotPublished when the run has none."""
    folder = Path(recipe.data.folder).expanduser()
    require_image_training(recipe, folder)
    if not (run / "lora" / WEIGHTS).is_file():
        raise NotPublished(
            f"{recipe.run.name} has no LoRA yet. Run `python -m training.train_image` first."
        )
    check_lora(run / "lora")
    pictures = read_folder(folder, recipe.data, recipe.run.seed, time.time())
    pipeline = load_pipeline(recipe, base)
    resolution = resolution_of(recipe, pipeline)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    pipeline.load_lora_weights(run / "lora", weight_name=WEIGHTS, adapter_name="lora")
    pipeline.to(device)
    return Subject(recipe, run, pipeline, pictures, resolution, device)

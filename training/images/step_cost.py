"""What a LoRA step costs on this machine, on random weights of the base's true shape."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from engine.weights.weight_files import check_pipeline
from training.errors import BadRecipe
from training.images.bases import add_lora
from training.images.data.buckets import Cut
from training.images.data.samples import Sample
from training.images.recipe import ImageRecipe
from training.images.trainer import ImageTrainer
from training.run.trainer import accelerator_for, time_steps
from training.text.bases import compute_type

# The UNet and the scheduler of stabilityai/stable-diffusion-xl-base-1.0, from their config files.
SDXL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "in_channels": 4,
    "out_channels": 4,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 2048,
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SDXL_SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SDXL_POOLED = 1280
TOKENS = 77
SPREAD = 0.02  # of the random weights


def random_unet(recipe: ImageRecipe, folder: Path | None) -> tuple[Any, Any, int]:
    """Build a UNet of random weights, its schedule, and tell the width of pooled texts."""
    from diffusers import EulerDiscreteScheduler, UNet2DConditionModel

    shape, schedule, pooled = SDXL_UNET, EulerDiscreteScheduler(**SDXL_SCHEDULE), SDXL_POOLED
    if folder is not None:
        check_pipeline(folder)
        shape = UNet2DConditionModel.load_config(folder, subfolder="unet")
        schedule = EulerDiscreteScheduler.from_pretrained(folder, subfolder="scheduler")
        text = 6 * shape["addition_time_embed_dim"]
        pooled = shape["projection_class_embeddings_input_dim"] - text
    elif "stable-diffusion-xl" not in recipe.base.id:
        raise BadRecipe(
            "Only SDXL's shape is known by heart: name a folder (model_index.json) with --base."
        )
    with torch.device("meta"):  # no time or memory for weights that nobody wants
        unet = UNet2DConditionModel.from_config(shape)
    device = "cuda" if torch.cuda.is_available() else "cpu"  # a processor makes as many in minutes
    unet = unet.to(compute_type(recipe.training.precision)).to_empty(device=device)
    torch.manual_seed(recipe.run.seed)
    with torch.no_grad():
        for weight in unet.parameters():
            weight.normal_(std=SPREAD)
    return unet.requires_grad_(False), schedule, pooled


def measure_image(recipe: ImageRecipe, folder: Path | None, steps: int) -> dict[str, float]:
    """Time steps: seconds a picture (the best step), by the clock and of processors."""

    started = time.monotonic()
    unet, schedule, pooled = random_unet(recipe, folder)
    parameters = sum(weight.numel() for weight in unet.parameters())
    lora = recipe.lora.model_copy(update={"text_encoders": False, "start": ""})
    pipeline = SimpleNamespace(unet=unet, scheduler=schedule)
    add_lora(pipeline, lora, recipe.run.seed)
    if recipe.training.gradient_checkpointing:
        unet.enable_gradient_checkpointing()
    accelerator = accelerator_for(recipe.training.precision)
    unet.to(accelerator.device)
    words = torch.randn(1, TOKENS, unet.config.cross_attention_dim), torch.randn(1, pooled)
    given = SimpleNamespace(
        batch=lambda said: [one.expand(len(said), *one.shape[1:]) for one in words]
    )
    trainer = ImageTrainer(recipe, pipeline, given, accelerator)
    built = time.monotonic() - started
    side = recipe.data.resolution or unet.config.sample_size * 8
    shown = [made_up(side, unet.config)] * recipe.training.batch

    def take(step: int) -> None:
        trainer.model.train()
        for part in range(recipe.training.accumulate):
            loss = trainer.losses(shown, step, part, "measure").mean()
            accelerator.backward(loss / recipe.training.accumulate)
        trainer.update(step, float(loss.detach()))

    found = time_steps(trainer, steps, take)
    return {"parameters": parameters, "build_seconds": built, "side": side, **found}


def made_up(side: int, config: Any) -> Sample:
    square = (side, side)
    cut = Cut(original=square, resized=square, corner=(0, 0), target=square)
    mean = torch.randn(config.in_channels, side // 8, side // 8)
    return Sample("made up", mean, torch.zeros_like(mean), "", cut.time_ids)

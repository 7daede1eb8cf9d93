"""What a training step costs on this machine, without weights, corpus or hub account.

    python -m tests.benchmarks training_step --recipe training/recipes/lovecraft-gemma.toml \\
        --set training.method=lora
    python -m tests.benchmarks training_step --recipe training/recipes/jewel-museum.toml

Builds the base's shape with random weights (the true shape of gemma-2-2b for a Gemma-2 recipe, of
SDXL's UNet for an SDXL recipe; the shape in the folder for --base), and times steps on random tokens
or latents.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from engine.weights.weight_files import check_pipeline
from tests.benchmarks.figures import Figure
from training.errors import BadRecipe
from training.images.bases import add_lora
from training.images.data.buckets import Cut
from training.images.data.samples import Sample
from training.images.recipe import ImageRecipe, is_image_recipe, load_image_recipe
from training.images.trainer import ImageTrainer
from training.run.recipe import Recipe, load_recipe
from training.run.trainer import Trainer, accelerator_for
from training.text.bases import add_adapter, attention_for, compute_type
from training.text.data.blocks import Block
from training.text.trainer import TextTrainer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

EMBEDDED = Path("training/recipes/jewel-embedded.toml")
OPTIONS = argparse.ArgumentParser(prog="training_step", description=__doc__)
OPTIONS.add_argument("--recipe", type=Path, default=EMBEDDED)
OPTIONS.add_argument("--base", type=Path, help="a folder whose shape is taken")
OPTIONS.add_argument("--set", action="append", default=[], help="change one value of the recipe")
OPTIONS.add_argument("--steps", type=int, default=2)

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


def random_base(recipe: Recipe, folder: Path | None) -> "PreTrainedModel":
    from transformers import AutoConfig, AutoModelForCausalLM, Gemma2Config

    if recipe.training.method == "qlora":
        raise BadRecipe("Random weights are not in 4 bits: add --set training.method=lora.")
    if folder is None and "gemma-2-2b" not in recipe.base.id:
        raise BadRecipe("Only gemma-2-2b's shape is known by heart: name a folder with --base.")
    config: Any = AutoConfig.from_pretrained(folder) if folder else Gemma2Config()
    config.use_cache = False
    torch.manual_seed(recipe.run.seed)
    model: PreTrainedModel = AutoModelForCausalLM.from_config(
        config,
        dtype=compute_type(recipe.training.precision),
        attn_implementation=attention_for(recipe.base, config),
    )
    return model


def measure(recipe: Recipe, folder: Path | None, steps: int) -> dict[str, float]:
    """Time steps: seconds a block (the best step), peak memory in GiB, parameters."""
    started = time.monotonic()
    base = random_base(recipe, folder)
    parameters, vocabulary = base.num_parameters(), base.config.vocab_size
    model = add_adapter(base, recipe)
    accelerator = accelerator_for(recipe.training.precision)
    trainer = TextTrainer(recipe, model, accelerator, frozenset())
    loaded = time.monotonic() - started
    tokens = torch.randint(3, vocabulary, (recipe.corpus.block,)).tolist()
    blocks = [Block(tokens=tuple(tokens), work=0)]
    found = time_steps(trainer, steps, lambda step: trainer.step(blocks, step, steps))
    return {
        "parameters": parameters,
        "build_seconds": loaded,
        **found,
    }


def peak_memory() -> float:
    """Give the most memory used so far, in GiB: the GPU's where there is one, else this process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kibibytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def time_steps(trainer: Trainer, steps: int, take: Callable[[int], object]) -> dict[str, float]:
    """Take steps; give the best one's seconds a sample, by the clock and of processors."""
    samples = trainer.training.batch * trainer.training.accumulate
    seconds, busy = [], []
    for step in range(steps):
        started, worked = time.monotonic(), time.process_time()
        take(step)
        seconds.append(time.monotonic() - started)
        busy.append(time.process_time() - worked)
    return {
        "trained": sum(weight.numel() for weight in trainer.weights),
        "seconds": min(seconds) / samples,
        "processor_seconds": min(busy) / samples,
    }


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


def run(folder: Path, options: argparse.Namespace) -> list[Figure]:
    """Print seconds, parameters and memory of one kind of step."""
    changes = tuple(options.set)
    if options.recipe == EMBEDDED:
        options.base = options.base or Path("engine/models/jewel-base")
    if is_image_recipe(options.recipe):
        recipe = load_image_recipe(options.recipe, changes)
        found = measure_image(recipe, options.base, options.steps)
        what = f"a picture of {found['side']:.0f} pixels"
    else:
        text = load_recipe(options.recipe, changes)
        found = measure(text, options.base, options.steps)
        what = f"a block of {text.corpus.block} tokens"
    print(
        f"{found['parameters']:,.0f} parameters, {found['trained']:,.0f} trained: "
        f"{found['seconds']:.1f} s ({found['processor_seconds']:.1f} s of processors) {what}, "
        f"{peak_memory():.1f} GiB at most (built in {found['build_seconds']:.0f} s)"
    )
    return []

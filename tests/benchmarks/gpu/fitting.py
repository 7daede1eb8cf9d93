"""Training steps by the product's own fitters: seconds and peak memory on random bases of true shape."""

import json
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.gpu.day import Day
from tests.benchmarks.gpu.shapes import RANK, build_gemma, gemma_config

STEPS = 4
CHECKPOINTING = ", checkpointing"


def recipe_file(name: str) -> Path:
    """A recipe of the product."""
    import training

    return Path(training.__file__).parent / "recipes" / name


def text_recipe(day: Day, block: int, *, method: str = "lora", checkpointing: bool = False) -> Any:
    """The stories' recipe, with two blocks of so many tokens a step."""
    from training.run.recipe import load_recipe

    changes = (
        f"training.method={method}",
        "training.optimiser=adamw",
        "training.batch=2",
        "training.accumulate=1",
        f"training.gradient_checkpointing={str(checkpointing).lower()}",
        f"corpus.block={block}",
        f"lora.rank={RANK}",
    )
    return load_recipe(recipe_file("lovecraft-gemma.toml"), changes)


def lora(day: Day) -> None:
    """LoRA on Gemma-2-2b in bfloat16: blocks of 512 and 1024 tokens, with and without checkpointing."""
    import torch

    from tests.benchmarks.training_step import measure

    folder = None
    if day.tiny:
        folder = day.folder / "tiny-gemma"
        gemma_config(day).save_pretrained(folder)
    for block in (16,) if day.tiny else (512, 1024):
        for checkpointing in (False, True):
            name = f"2 x {block} tokens{CHECKPOINTING * checkpointing}"
            with day.tried(name):
                any_precision()
                recipe = text_recipe(day, block, checkpointing=checkpointing)
                with torch.device(day.device):  # the product builds on the processor, which is slow
                    found = measure(recipe, folder, 1 if day.tiny else STEPS)
                _told(day, name, 2 * found["seconds"])


def qlora(day: Day) -> None:
    """QLoRA on the same base in NF4, the recipe's own way."""
    from training.run.trainer import accelerator_for
    from training.text.bases import add_adapter, keep_layout
    from training.text.data.blocks import Block
    from training.text.trainer import TextTrainer

    for block in (16,) if day.tiny else (512, 1024):
        for checkpointing in (True, False):
            name = f"2 x {block} tokens{CHECKPOINTING * checkpointing}"
            with day.tried(name):
                any_precision()
                recipe = text_recipe(day, block, method="qlora", checkpointing=checkpointing)
                base = in_four_bits(build_gemma(day), day.device)
                keep_layout(base)
                model = add_adapter(base, recipe)
                accelerator = accelerator_for(recipe.training.precision)
                trainer = TextTrainer(recipe, model, accelerator, frozenset())
                del base, model
                blocks = [Block(tokens=tuple(range(5, 5 + block)), work=0)] * 2
                day.clean()
                _told(day, name, day.timed(partial(trainer.step, blocks, 1, 9), STEPS - 1, 1))
            trainer = None


def any_precision() -> None:
    """Let the next accelerator have another precision than the last; a process keeps its first."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


def in_four_bits(model: Any, device: str) -> Any:
    """Every linear but the head as NF4, double quantised, as transformers loads it."""
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    for name, layer in list(model.named_modules()):
        if not isinstance(layer, torch.nn.Linear) or name == "lm_head":
            continue
        small = Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=False,
            compute_dtype=torch.bfloat16,
            compress_statistics=True,
            quant_type="nf4",
            device="meta",
        )
        small.weight = Params4bit(
            layer.weight.data, requires_grad=False, compress_statistics=True, quant_type="nf4"
        )
        model.set_submodule(name, small.to(device))
    model.is_loaded_in_4bit = True
    model.config.use_cache = False
    return model


def image(day: Day) -> None:
    """A LoRA on SDXL's UNet: a picture of 1024 x 1024 a step."""
    from tests.benchmarks.training_step import measure_image
    from training.images.recipe import load_image_recipe

    side = 64 if day.tiny else 1024
    folder = _tiny_pipeline(day) if day.tiny else None
    for precision, checkpointing in (("bf16", True), ("bf16", False), ("fp16", True)):
        if precision == "fp16" and day.device == "cpu":
            continue
        name = f"{precision}, a picture of {side}{CHECKPOINTING * checkpointing}"
        with day.tried(name):
            changes = (
                f"training.precision={precision}",
                "training.optimiser=adamw",
                "training.batch=1",
                "training.accumulate=1",
                f"training.gradient_checkpointing={str(checkpointing).lower()}",
                f"data.resolution={side}",
                f"lora.rank={RANK}",
            )
            any_precision()
            recipe = load_image_recipe(recipe_file("jewel-museum.toml"), changes)
            found = measure_image(recipe, folder, 1 if day.tiny else STEPS)
            _told(day, name, found["seconds"])


def _told(day: Day, name: str, seconds: float) -> None:
    day.note(f"{name}: a step", 1000 * seconds, "ms")
    day.peak(name)


def _tiny_pipeline(day: Day) -> Path:
    """The parts of a tiny pipeline's folder that the product's measure reads."""
    from diffusers import EulerDiscreteScheduler

    from tests.benchmarks.gpu.pictures import unet_shape

    folder = day.folder / "tiny-sdxl"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text(
        json.dumps({"_class_name": "UNet2DConditionModel", **unet_shape(day)})
    )
    EulerDiscreteScheduler().save_pretrained(folder / "scheduler")
    (folder / "model_index.json").write_text("{}")
    return folder

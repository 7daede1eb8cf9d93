"""What a training step costs on this machine, without weights, corpus or hub account.

    python -m training.measure_step training/recipes/lovecraft-gemma.toml --set training.method=lora
    python -m training.measure_step training/recipes/jewel-museum.toml --set data.resolution=512

Builds the base's shape with random weights (the true shape of gemma-2-2b for a Gemma-2 recipe, of
SDXL's UNet for an SDXL recipe; the shape in the folder for --base), and times steps on random tokens
or latents.
"""

import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import torch
import typer

from training.errors import BadRecipe
from training.images.recipe import is_image_recipe, load_image_recipe
from training.run.recipe import Recipe, load_recipe
from training.run.stage import BaseFolder, Changes, RecipeFile, memory_told, run_stage, say
from training.run.trainer import accelerator_for, time_steps
from training.text.bases import add_adapter, attention_for, compute_type
from training.text.data.blocks import Block
from training.text.trainer import TextTrainer
from training.train_text import MEMORY_HELP

if TYPE_CHECKING:
    from transformers import PreTrainedModel


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
    trainer = TextTrainer(recipe, model, accelerator)
    loaded = time.monotonic() - started
    tokens = torch.randint(3, vocabulary, (recipe.corpus.block,)).tolist()
    blocks = [Block(tokens=tuple(tokens), work=0)]
    found = time_steps(trainer, steps, lambda step: trainer.step(blocks, step, steps))
    return {
        "parameters": parameters,
        "build_seconds": loaded,
        "memory": peak_memory(),
        **found,
    }


def peak_memory() -> float:
    """Give the most memory used so far, in GiB: the GPU's where there is one, else this process's."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kibibytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def image_line(path: Path, base: Path | None, changes: tuple[str, ...], steps: int) -> str:
    from training.images.step_cost import measure_image
    from training.train_image import MEMORY_HELP as IMAGE_HELP

    recipe = load_image_recipe(path, changes)
    with memory_told(IMAGE_HELP):
        found = measure_image(recipe, base, steps)
    return (
        f"{found['parameters']:,.0f} parameters, {found['trained']:,.0f} trained, "
        f"{recipe.training.precision}: {found['seconds']:.1f} s "
        f"({found['processor_seconds']:.1f} s of processors) a picture of {found['side']:.0f} pixels, "
        f"{peak_memory():.1f} GiB at most (built in {found['build_seconds']:.0f} s)"
    )


def main(
    recipe_file: RecipeFile,
    base: BaseFolder = None,
    changes: Changes = None,
    steps: Annotated[int, typer.Option(help="Steps to time", min=1)] = 2,
) -> None:
    """Time training steps on random weights of the base's shape."""
    if is_image_recipe(recipe_file):
        say(image_line(recipe_file, base, tuple(changes or ()), steps))
        return
    recipe = load_recipe(recipe_file, tuple(changes or ()))
    with memory_told(MEMORY_HELP):
        found = measure(recipe, base, steps)
    say(
        f"{found['parameters']:,.0f} parameters, {found['trained']:,.0f} trained, "
        f"{recipe.training.method}, {recipe.training.precision}: {found['seconds']:.1f} s a block "
        f"of {recipe.corpus.block} tokens, {found['memory']:.1f} GiB at most "
        f"(built in {found['build_seconds']:.0f} s)",
    )


if __name__ == "__main__":
    run_stage(main)

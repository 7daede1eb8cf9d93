"""Stage four: put a trained adapter, for text or pictures, into an expert's folder with its cards."""

import json
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from safetensors.torch import load_file, save_file

from engine.files import BUILT_IN, whole_file, whole_folder, write_file, write_json
from engine.settings import read_settings
from engine.weights.picture_lora import check_lora
from engine.weights.weight_files import check_adapter, digest_of
from training.errors import BadRecipe, NotPublished
from training.images.lora_files import KOHYA, copy_lora
from training.images.lora_files import WEIGHTS as LORA
from training.images.model_card import image_model_card
from training.images.recipe import (
    ImageRecipe,
    is_image_recipe,
    load_image_recipe,
    require_image_training,
)
from training.run import stage
from training.run.expert_card import AnyRecipe, card_text, folder_of, require_room
from training.run.recipe import load_recipe
from training.run.record import digest_of_file, note_stage, read_record
from training.text.bases import config_of
from training.text.gguf_adapter import write_gguf
from training.text.model_card import GEMMA_NOTICE, is_gemma, model_card
from training.text.rights import require_training

ADAPTER = "adapter"  # in the run's folder
CARD = "card.toml"
WEIGHTS = "adapter_model.safetensors"


def publish(recipe: AnyRecipe, run: Path, root: Path, replace: bool, half: bool) -> dict[str, Any]:
    """Fill `root/<expert>`: adapter, card, model card, notice; gives the facts for run.json."""
    source = require_adapter(recipe, run)
    expert = root / recipe.expert.name
    require_room(recipe, expert / CARD, replace)
    adapter = expert / folder_of(recipe.expert.profile)
    expert.mkdir(parents=True, exist_ok=True)
    with whole_folder(adapter) as folder:
        if isinstance(recipe, ImageRecipe):
            copy_lora(source / LORA, folder / LORA, half)
        else:
            write_adapter(source, folder, half)
    digest = digest_of(adapter)
    old = expert / CARD if (expert / CARD).exists() else BUILT_IN / recipe.expert.name / CARD
    stages = read_record(run).get("stages", {})
    trained = stages.get("train_image" if isinstance(recipe, ImageRecipe) else "train_text", {})
    commit = trained.get("base", {}).get("commit", "")
    write_file(expert / CARD, card_text(recipe, old, old.parent == expert, digest, commit))
    write_words(recipe, run, expert, digest, half)
    return {"expert": recipe.expert.name, "outputs": {"adapter": digest}}


def require_adapter(recipe: AnyRecipe, run: Path) -> Path:
    if isinstance(recipe, ImageRecipe):
        require_image_training(recipe)
        source, weights, by = run / "lora", LORA, "train_image"
    else:
        require_training(recipe)
        source, weights, by = run / ADAPTER, WEIGHTS, "train_text"
    if not (source / weights).exists():
        raise NotPublished(
            f"{recipe.run.name} has no adapter yet. Run `python -m training.{by}` first."
        )
    check = check_lora if isinstance(recipe, ImageRecipe) else check_adapter
    check(source)
    return source


def write_words(recipe: AnyRecipe, run: Path, expert: Path, digest: str, half: bool) -> None:
    record = read_record(run)
    if isinstance(recipe, ImageRecipe):
        write_file(expert / "README.md", image_model_card(recipe, record, digest))
        folder = folder_of(recipe.expert.profile)
        kohya = expert / f"{folder.replace(ADAPTER, 'kohya')}.safetensors"
        kohya.unlink(missing_ok=True)  # of the LoRA before
        if (run / "kohya" / KOHYA).is_file():
            with whole_file(kohya) as part:
                copy_lora(run / "kohya" / KOHYA, part, half)
        return
    write_file(expert / "README.md", model_card(recipe, record, digest))
    if is_gemma(recipe):
        write_file(expert / "NOTICE", GEMMA_NOTICE)


def write_adapter(source: Path, folder: Path, half: bool) -> None:
    """Copy config and weights; `half` stores them in bfloat16, half the size."""
    config = json.loads((source / "adapter_config.json").read_text(encoding="utf-8"))
    if isinstance(config.get("target_modules"), list):
        config["target_modules"].sort()  # PEFT writes a set: the digest should not change
    write_json(folder / "adapter_config.json", config)
    weights = load_file(source / WEIGHTS)
    if half:
        weights = {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}
    save_file(weights, folder / WEIGHTS, {"format": "pt"})
    (folder / WEIGHTS).chmod(0o644)  # safetensors makes it private


def main(
    recipe_file: stage.RecipeFile,
    base: stage.BaseFolder = None,
    runs: stage.RunsFolder = Path("runs"),
    changes: stage.Changes = None,
    into: Annotated[
        Path | None, typer.Option("--into", help="Experts folder (else PASTICHE_HOME/experts)")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a published adapter")] = False,
    half: Annotated[
        bool, typer.Option("--half/--whole", help="Store weights in half precision or as trained")
    ] = True,
    gguf: Annotated[
        Path | None,
        typer.Option("--gguf", help="Also write the adapter for llama.cpp to this file"),
    ] = None,
) -> None:
    """Put a trained adapter into an expert's folder, with its card and model card."""
    load = load_image_recipe if is_image_recipe(recipe_file) else load_recipe
    recipe: AnyRecipe = load(recipe_file, tuple(changes or ()))
    if gguf and isinstance(recipe, ImageRecipe):
        raise BadRecipe("This is for text; tools for pictures take a LoRA ([save] kohya).")
    run = stage.open_run(recipe, runs)
    root = into or read_settings().home / "experts"
    facts = publish(recipe, run, root, replace, half)
    if gguf is not None and not isinstance(recipe, ImageRecipe):
        write_gguf(run / ADAPTER, gguf, config_of(recipe.base, base), half)
        facts["outputs"]["gguf"] = digest_of_file(gguf)
    note_stage(run, recipe, "publish", facts)
    stage.say(f"Published {root / recipe.expert.name}")


if __name__ == "__main__":
    stage.run_stage(main)

"""Fit a DreamBooth LoRA for pictures to a base of SDXL's layout.

A run that was broken off ends with the same weights as one that never was.
"""

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from engine.files import whole_folder
from training.images.data.folder import read_folder
from training.images.recipe import ImageRecipe, load_image_recipe, require_image_training
from training.run import stage
from training.run.evaluation import next_line
from training.run.record import digest_of_file, note_stage

if TYPE_CHECKING:
    from training.images.session import ImageSession

MEMORY_HELP = (
    "Out of memory. Lower, in this order: training.batch (raise training.accumulate by as much); set "
    "training.gradient_checkpointing = true, training.low_memory = true, training.optimiser = "
    '"adamw8bit", training.precision = "bf16"; then data.resolution (SDXL: 1024, 768, 512) and '
    "lora.rank. The last checkpoint is kept."
)
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder of pictures in place of the recipe's")
]


def train_image(recipe: ImageRecipe, run: Path, base: Path | None = None) -> "ImageSession":
    """Train to the end; write the LoRA of the chosen step to `lora/`, and the record."""
    folder = Path(recipe.data.folder).expanduser()
    require_image_training(recipe, folder)
    if recipe.training.optimiser == "adamw8bit":
        stage.require_extra("bitsandbytes")
    pictures = read_folder(folder, recipe.data, recipe.run.seed, time.time())
    from training.images.bases import base_folder
    from training.images.session import ImageSession
    from training.text.bases import base_facts

    place = base_folder(recipe, base)
    with stage.memory_told(MEMORY_HELP):
        with Console(stderr=True).status("loading the base, and reading the pictures with it"):
            session = ImageSession(recipe, run, pictures, place)
        if session.accelerator.is_main_process:
            for line in session.told():
                stage.say(line)
        session.train()
    session.choose()
    if session.accelerator.is_main_process:
        write_lora(session, run / "lora")
        known = {"base": base_facts(recipe.base.id, base, place)}
        note_stage(run, recipe, "train_image", {**known, **facts_of(session)})
    return session


def write_lora(session: "ImageSession", folder: Path) -> None:
    """Save the LoRA whole, for diffusers and (if the recipe asks) for kohya's tools."""
    from training.images.lora_files import lora_metadata, save_kohya, save_lora

    marks = lora_metadata(session.recipe, facts_of_training(session))
    with whole_folder(folder) as part:
        save_lora(session.pipeline, part, marks)
    shutil.rmtree(folder.with_name("kohya"), ignore_errors=True)  # of the LoRA before
    if session.recipe.save.kohya:
        with whole_folder(folder.with_name("kohya")) as part:
            save_kohya(session.pipeline, part, marks)


def facts_of_training(session: "ImageSession") -> dict[str, Any]:
    """Give what both the LoRA's file and run.json say of the training."""
    return {
        "pictures": len(session.samples),
        "resolution": session.resolution,
        "prediction": session.trainer.schedule.config.prediction_type,
        "steps": session.chosen_step,
        "epochs": session.epochs,
        "data": session.pictures.digest,
    }


def facts_of(session: "ImageSession") -> dict[str, Any]:
    progress = session.progress
    return {
        **facts_of_training(session),
        "steps": progress.step,
        "chosen_step": session.chosen_step,
        "held_out_pictures": len(session.pictures.held_out),
        "held_out_judged": len(session.held_out),
        "held_out_loss": progress.best_loss if len(session.held_out) else None,
        "dropped": session.pictures.dropped,
        "captions_cut": sum(bool(word.cut) for word in session.samples.words),
        "shapes": sorted({f"{width}x{height}" for height, width in session.samples.shapes}),
        "seconds": round(progress.seconds, 1),
        "device": str(session.device),
        "outputs": {
            name: digest_of_file(path)
            for name in ("lora", "kohya")
            for path in (session.run / name).glob("*.safetensors")
        },
    }


def with_folder(recipe: ImageRecipe, folder: Path | None) -> ImageRecipe:
    if folder is None:
        return recipe
    data = recipe.data.model_copy(update={"folder": str(folder)})
    return recipe.model_copy(update={"data": data})


def main(
    recipe_file: stage.RecipeFile,
    base: stage.BaseFolder = None,
    data: DataFolder = None,
    runs: stage.RunsFolder = Path("runs"),
    changes: stage.Changes = None,
    fresh: stage.Fresh = False,
) -> None:
    """Fit a DreamBooth LoRA to a folder of pictures; goes on from the last checkpoint."""
    recipe = with_folder(load_image_recipe(recipe_file, tuple(changes or ())), data)
    run = stage.open_run(recipe, runs, fresh)
    session = train_image(recipe, run, base)
    if session.accelerator.is_main_process:
        told = f"The LoRA is that of step {session.chosen_step}."
        if len(session.held_out):
            told = f"{told} Lowest held-out loss {session.progress.best_loss:.4f}."
            if recipe.save.choose == "best" and session.progress.best_step == 0:
                told += " No step came out better than the base alone: look at the grids first."
        stage.say(told)
        given = ("data", data, None)
        stage.say(next_line("evaluate_image", recipe_file, base, runs, changes, given))


if __name__ == "__main__":
    stage.run_stage(main)

"""Stage two: fit a LoRA or QLoRA adapter to a corpus.

A run that was broken off ends with the same weights as one that never was.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from engine.files import whole_folder
from training.errors import TrainingStopped
from training.run import checkpoints, stage
from training.run.evaluation import next_line
from training.run.recipe import Recipe, load_recipe
from training.run.record import digest_of_file, note_stage
from training.text.bases import base_facts, place_of
from training.text.rights import require_training

if TYPE_CHECKING:
    from training.text.session import Session

ADAPTER = "adapter_model.safetensors"
MEMORY_HELP = (
    "Out of memory. Lower, in this order: training.batch (raise training.accumulate by as much), "
    "corpus.block (and run the corpus stage again); or set training.gradient_checkpointing = true; "
    'or training.method = "qlora" with training.optimiser = "adamw8bit". The last checkpoint is kept.'
)


def train(recipe: Recipe, run: Path, base: Path | None) -> "Session":
    """Train to the end and write the adapter of the lowest held-out loss to `adapter/`."""
    if recipe.training.method == "qlora" or recipe.training.optimiser == "adamw8bit":
        stage.require_extra("bitsandbytes")
    from training.text.session import Session

    with stage.memory_told(MEMORY_HELP):
        session = Session(recipe, run, base)
        session.train()
    if session.chosen_step == 0:
        raise TrainingStopped(
            "No validation came out better than the base alone, so there is no adapter. Lower "
            "training.learning_rate, or give it more text."
        )
    if recipe.training.choose == "last":
        session.keep_of_start()  # in every process: all of them measure its loss
    if session.accelerator.is_main_process:
        write_adapter(session, run / "adapter")
        known = base_facts(recipe.base.id, base, place_of(recipe.base, base))
        note_stage(run, recipe, "train_text", {"base": known, **facts_of(session)})
    return session


def write_adapter(session: "Session", folder: Path) -> None:
    """Save the chosen checkpoint as a PEFT adapter that names its base by id, never by path."""
    chosen = session.folder / f"step-{session.chosen_step:06d}"
    if session.chosen_step != session.progress.step:
        session.put(checkpoints.load(chosen)[1], session.chosen_step)
    with whole_folder(folder) as part:
        settings = session.model.peft_config["default"]
        settings.base_model_name_or_path = session.recipe.base.id
        settings.revision = session.recipe.base.revision or None
        session.model.save_pretrained(part, save_embedding_layers=False)
        (part / "README.md").unlink(missing_ok=True)  # the model card is written by publish


def facts_of(session: "Session") -> dict[str, object]:
    progress, training = session.progress, session.recipe.training
    size = training.batch * training.accumulate * session.accelerator.num_processes
    return {
        "blocks": progress.step * size,
        "steps": progress.step,
        "steps_planned": session.steps,
        "best_step": session.chosen_step,
        "held_out_loss": progress.best_loss if session.held_out else None,
        "seconds": round(progress.seconds, 1),
        "device": str(session.accelerator.device),
        "attention": session.model.config._attn_implementation,
        "outputs": {"adapter": digest_of_file(session.run / "adapter" / ADAPTER)},
    }


def main(
    recipe_file: stage.RecipeFile,
    base: stage.BaseFolder = None,
    runs: stage.RunsFolder = Path("runs"),
    changes: stage.Changes = None,
    fresh: stage.Fresh = False,
) -> None:
    """Fit a LoRA or QLoRA adapter to a corpus; goes on from the last checkpoint."""
    recipe = load_recipe(recipe_file, tuple(changes or ()))
    require_training(recipe)
    run = stage.open_run(recipe, runs, fresh)
    stage.say(f"Loads the base {recipe.base.id}.")
    session = train(recipe, run, base)
    if not session.accelerator.is_main_process:
        return
    if session.held_out:
        best = session.progress
        stage.say(f"Held-out loss {best.best_loss:.4f} at step {best.best_step}.")
    after = "evaluate_text" if session.held_out else "publish"
    stage.say(next_line(after, recipe_file, base, runs, changes))


if __name__ == "__main__":
    stage.run_stage(main)

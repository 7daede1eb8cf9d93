"""Write captions for a data folder's pictures, with GPT-4.1 or another server."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from training.captioning.chat_completions import Captioner
from training.captioning.composition import require_prefix
from training.captioning.cost import purse_of, require_agreement
from training.captioning.questions import questions_of
from training.captioning.writer import WORK, Journal, ask, write_captions
from training.errors import TrainingError
from training.museum.harvest_recipe import load_harvest_recipe
from training.museum.harvester import DATA, alone
from training.museum.metadata_rows import CAPTIONS
from training.museum.retention import prune
from training.run.record import note_stage
from training.run.settings import TrainingSettings
from training.run.stage import Changes, RecipeFile, RunsFolder, delete_due, run_stage, say


def main(
    recipe_file: RecipeFile,
    runs: RunsFolder = Path("runs"),
    changes: Changes = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="A data folder in place of the run's")
    ] = None,
    max_usd: Annotated[
        float | None, typer.Option("--max-usd", min=0, help="Most that this data set may cost")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before spending")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again where an answer was no use")
    ] = False,
) -> None:
    """Write captions for a data folder's pictures."""
    recipe = load_harvest_recipe(recipe_file, tuple(changes or ()))
    table = recipe.caption
    require_prefix(table)
    delete_due(runs)
    folder = data or runs / recipe.run.name / DATA
    prune(folder, time.time())
    with alone(folder):
        questions, journal = questions_of(folder, table), Journal(folder)
        over = False
        try:
            if waiting := [q for q in questions if journal.needs(q, retry_failed)]:
                captioner = Captioner(table, TrainingSettings())
                purse = purse_of(table, max_usd, journal.dollars)
                require_agreement(len(waiting), purse, table, yes)
                over = ask(waiting, captioner, journal, purse)
        finally:  # what came before a fault is written all the same
            facts = write_captions(folder, questions, journal, table)
        facts |= {"captioner": "openai", "dollars": round(journal.dollars, 6)}
        tell(facts, folder)
        note_stage(folder / WORK if data else folder.parent, recipe, "caption", facts)
    if over:
        raise passed(max_usd, facts["captions"], len(questions))


def passed(max_usd: float | None, captions: int, pictures: int) -> TrainingError:
    return TrainingError(
        f"--max-usd {max_usd} would be passed by the next call: {captions} of {pictures} pictures have "
        "a caption, and are kept. Run again with a higher --max-usd."
    )


def tell(facts: dict[str, Any], folder: Path) -> None:
    say(f"{facts['captions']} captions in {folder / CAPTIONS}.")
    for outcome, number in facts["without"].items():
        say(f"without a caption, {outcome}: {number}")
    if facts["dollars"]:
        say(f"Measured cost of this data set so far: ${facts['dollars']:.4f}")


if __name__ == "__main__":
    run_stage(main)

"""Write captions for a data folder's pictures: with GPT-4.1, another server, a local model or none.

    python -m training.caption training/recipes/coronet-harvest.toml
    python -m training.caption training/recipes/coronet-harvest.toml --captioner catalogue
    python -m training.caption training/recipes/coronet-harvest.toml --max-usd 5

Run it again after an interruption: no question that was answered is asked twice.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from training.captioning import Captioner, cost
from training.captioning.answer_log import Journal
from training.captioning.catalogue import CatalogueCaptioner
from training.captioning.chat_completions import ServiceCaptioner
from training.captioning.composition import require_prefix
from training.captioning.questions import Question, questions_of
from training.captioning.review import write_sheet
from training.captioning.tables import CaptionTable, Kind
from training.captioning.writer import Asking, write_captions
from training.errors import TrainingError
from training.museum.harvest_recipe import load_harvest_recipe
from training.museum.harvester import DATA, alone
from training.museum.metadata_rows import CAPTIONS
from training.museum.retention import WORK, prune
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
    captioner: Annotated[
        Kind | None, typer.Option("--captioner", help="In place of the recipe's")
    ] = None,
    max_usd: Annotated[
        float | None, typer.Option("--max-usd", min=0, help="Most that this data set may cost")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before spending")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again where an answer was no use")
    ] = False,
    fill: Annotated[
        bool, typer.Option("--fill", help="Give pictures without an answer the catalogue's words")
    ] = False,
) -> None:
    """Write captions for a data folder's pictures."""
    recipe = load_harvest_recipe(recipe_file, tuple(changes or ()))
    table = recipe.caption.model_copy(update={"captioner": captioner} if captioner else {})
    require_prefix(table)
    delete_due(runs)
    folder = data or runs / recipe.run.name / DATA
    prune(folder, time.time())
    options = Options(max_usd, yes, retry_failed, fill)
    with alone(folder):
        facts, pictures, over = caption_folder(folder, table, options)
        note_stage(folder / WORK if data else folder.parent, recipe, "caption", facts)
    if over:
        raise TrainingError(
            f"--max-usd {max_usd} would be passed by the next call: {facts['captions']} of "
            f"{pictures} pictures have a caption, and are kept. Run again with a higher "
            "--max-usd, or with --fill to give the rest the catalogue's words."
        )


@dataclass(frozen=True, slots=True)
class Options:
    max_usd: float | None
    yes: bool
    retry_failed: bool
    fill: bool


def caption_folder(
    folder: Path, table: CaptionTable, options: Options
) -> tuple[dict[str, Any], int, bool]:
    """Ask, write, and lay out the sheet; what came before a fault is written all the same.

    Gives the facts for run.json, the number of pictures, and whether the limit held some back.
    """
    questions = questions_of(folder, table)
    who = captioner_of(table)
    journal = Journal(folder)
    over = False
    try:
        over = ask(questions, who, journal, table, options)
    finally:
        rows, facts = write_captions(folder, questions, who, journal, table, options.fill)
    known = {question.file_name: question.row for question in questions}
    sheet = write_sheet(folder, rows, known, table)
    facts = {"captioner": who.name, **facts, "dollars": round(journal.dollars, 6)}
    tell(facts, folder, sheet)
    return facts, len(questions), over


def ask(
    questions: list[Question],
    who: Captioner,
    journal: Journal,
    table: CaptionTable,
    options: Options,
) -> bool:
    """Ask what is open; tells whether the limit held some questions back."""
    if not who.kept:
        return False
    purse = cost.SpendingLimit(cost.prices_of(table), options.max_usd, journal.dollars)
    waiting = [question for question in questions if journal.needs(question, options.retry_failed)]
    cost.require_agreement(waiting, purse, table, options.yes)
    asking = Asking(captioner=who, journal=journal, purse=purse, table=table)
    if waiting:
        asking.ask(waiting)
    return asking.over


def captioner_of(table: CaptionTable) -> Captioner:
    match table.captioner:
        case "openai":
            return ServiceCaptioner(table, TrainingSettings())
        case "local":
            from training.captioning.local_model import LocalCaptioner

            return LocalCaptioner(table)
        case "catalogue":
            return CatalogueCaptioner()


def tell(facts: dict[str, Any], folder: Path, sheet: Path) -> None:
    say(f"{facts['captions']} captions in {folder / CAPTIONS}.")
    for outcome, number in facts["without"].items():
        say(f"without a caption, {outcome}: {number}")
    for flag, number in facts["flags"].items():
        say(f"flagged, {flag}: {number}")
    if facts["materials_agreement"] is not None:
        say(f"materials of the catalogue that were named: {facts['materials_agreement']:.0%}")
    if facts["dollars"]:
        say(f"Measured cost of this data set so far: ${facts['dollars']:.4f}")
    say(f"To review by eye: {sheet}")


if __name__ == "__main__":
    run_stage(main)

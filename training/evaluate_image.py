"""Judge a LoRA for pictures: base against LoRA, the same prompts and seeds."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from PIL import Image
from rich.console import Console

from training.images.drawing.grid import save_png, sheet
from training.images.evaluation import report
from training.images.recipe import ImageRecipe, load_image_recipe
from training.run import stage
from training.run.evaluation import command_line, next_line, sets_of, write_report
from training.run.expiry import stamp_until
from training.run.record import digest_of_file, note_stage
from training.train_image import MEMORY_HELP, DataFolder, with_folder

if TYPE_CHECKING:
    from training.images.drawing.generation import DrawRequest

SAMPLES = 24
SHOWN = 8  # pairs on the sheet of nearest training pictures


def evaluate_image(
    recipe: ImageRecipe,
    run: Path,
    base: Path | None = None,
    samples: int = SAMPLES,
    judge: Path | None = None,
    told: Callable[[str], None] = print,
) -> dict[str, Any]:
    from training.images.evaluation.measures import WRITERS, Measures

    told("loading")
    measures = Measures(recipe, run, base, told, judge)
    wishes, pairs = measures.side_by_side()
    folder = run / "evaluation"
    save_png(before_after(wishes, pairs), folder / report.SHEET)
    chosen, asked = measures.asked(samples)
    made = measures.drawn(asked, "held-out captions")
    drawn = {writer: [*pairs[writer], *made[writer]] for writer in WRITERS}
    values = {
        "held_out": measures.held_out(),
        "memory": measures.memory(drawn),
        "detail": measures.detail(made),
        "attributes": measures.attributes(chosen, made),
    }
    save_nearest(folder / report.NEAREST, values["memory"]["lora"], drawn["lora"], measures)
    return values


def before_after(
    wishes: "Sequence[DrawRequest]", pairs: dict[str, list[Image.Image]]
) -> Image.Image:
    rows: dict[str, list[Image.Image]] = {}
    for wish, base, lora in zip(wishes, pairs["base"], pairs["lora"], strict=True):
        rows.setdefault(wish.prompt, []).extend((base, lora))
    seeds = [wish.seed for wish in wishes if wish.prompt == wishes[0].prompt]
    columns = [f"{who}, seed {seed}" for seed in seeds for who in ("base", "LoRA")]
    return sheet(list(rows.values()), columns, list(rows))


def save_nearest(path: Path, memory: dict[str, Any], drawn: list[Any], measures: Any) -> None:
    """Show the pictures nearest to training pictures, in a folder that goes when these must."""
    pictures = measures.pictures
    stamp_until(path.parent, pictures.due)
    found = zip(memory["similarity"], memory["nearest"], drawn, strict=True)
    near = sorted(found, key=lambda entry: -entry[0])[:SHOWN]
    rows = [[picture, measures.train[index]] for _, index, picture in near]
    labels = [f"similarity {value:.3f}: {pictures.train[index].name}" for value, index, _ in near]
    save_png(sheet(rows, ("drawn", "nearest training picture"), labels), path)


def main(
    recipe_file: stage.RecipeFile,
    base: stage.BaseFolder = None,
    data: DataFolder = None,
    runs: stage.RunsFolder = Path("runs"),
    changes: stage.Changes = None,
    samples: Annotated[int, typer.Option(help="Pictures by held-out captions", min=1)] = SAMPLES,
    judge: Annotated[
        Path | None,
        typer.Option(help="Weights of training.judge_jewellery: is what was asked for to be seen?"),
    ] = None,
) -> None:
    """Compare a LoRA for pictures with its base; write a sheet and a report."""
    recipe = with_folder(load_image_recipe(recipe_file, tuple(changes or ())), data)
    run = stage.open_run(recipe, runs)
    with Console().status("loading") as status, stage.memory_told(MEMORY_HELP):
        values = evaluate_image(recipe, run, base, samples, judge, status.update)
    own = (("data", data, None), ("samples", samples, SAMPLES), ("judge", judge, None))
    command = command_line("evaluate_image", [recipe_file], base, *sets_of(changes), *own)
    page = report.page(recipe.expert.title or recipe.expert.name, values, command)
    path, lines = write_report(run / "evaluation", page, values), report.lines_of(values)
    facts = {**values, "lines": lines, "outputs": {"report": digest_of_file(path)}}
    note_stage(run, recipe, "evaluate_image", facts)
    for line in (*lines, f"Report: {path}"):
        stage.say(line)
    stage.say(next_line("publish", recipe_file, base, runs, changes))


if __name__ == "__main__":
    stage.run_stage(main)

"""Judge a LoRA for pictures: base against LoRA, the same prompts and seeds.

    python -m training.evaluate_image training/recipes/jewel-embedded.toml --data DIR

Writes a side-by-side sheet, one Markdown page and the figures: held-out loss, whether training
pictures come back, attributes as asked, and with `--clip` and `--dino` their scores.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from training.images.recipe import ImageRecipe, load_image_recipe
from training.runs.evaluation import command_line, write_report
from training.runs.expiry import stamp
from training.runs.record import digest_of_file, note_stage
from training.runs.stage import (
    BaseFolder,
    Changes,
    RecipeFile,
    RunsFolder,
    memory_told,
    open_run,
    run_stage,
    say,
)
from training.train_image import MEMORY_HELP, DataFolder, with_folder

if TYPE_CHECKING:
    from PIL.Image import Image

    from training.images.drawing.generation import DrawRequest

SAMPLES = 24
SHOWN = 8  # pairs on the sheet of nearest training pictures
ModelFolder = Annotated[Path | None, typer.Option(help="A local folder with such a model")]


def evaluate_image(
    recipe: ImageRecipe,
    run: Path,
    base: Path | None = None,
    samples: int = SAMPLES,
    attributes: tuple[str, ...] = (),
    clip: Path | None = None,
    dino: Path | None = None,
    judge: Path | None = None,
    told: Callable[[str], None] = print,
) -> dict[str, Any]:
    from training.images.drawing.grid import save_png
    from training.images.evaluation import report, scores
    from training.images.evaluation.attributes import RenderJudge
    from training.images.evaluation.measures import WRITERS, Measures
    from training.images.evaluation.subject import subject_of

    told("loading")
    subject = subject_of(recipe, run, base)
    measures = Measures(
        subject,
        told,
        clip=scores.Clip(clip) if clip else None,
        dino=scores.Dino(dino) if dino else None,
        eye=RenderJudge(judge) if judge else None,
    )
    wishes, pairs = measures.side_by_side()
    folder = run / "evaluation"
    save_png(before_after(wishes, pairs), folder / report.SHEET)
    chosen, asked = measures.asked(samples)
    made = measures.drawn(asked, "held-out captions")
    drawn = {writer: [*pairs[writer], *made[writer]] for writer in WRITERS}
    values = {
        "held_out": subject.held_out(),
        "memory": measures.memory(drawn),
        "attributes": measures.attributes(attributes, chosen, made),
        "scores": measures.scores([*wishes, *asked], drawn),
    }
    save_nearest(folder / report.NEAREST, values["memory"]["lora"], drawn["lora"], measures)
    return values


def before_after(wishes: "Sequence[DrawRequest]", pairs: "dict[str, list[Image]]") -> "Image":
    from training.images.drawing.grid import sheet

    prompts = tuple(dict.fromkeys(wish.prompt for wish in wishes))
    places = {prompt: [n for n, w in enumerate(wishes) if w.prompt == prompt] for prompt in prompts}
    titles = {"base": "base", "lora": "LoRA"}
    rows = [[pairs[who][n] for n in places[prompt] for who in titles] for prompt in prompts]
    seeds = [wishes[n].seed for n in places[prompts[0]]]
    columns = [f"{titles[who]}, seed {seed}" for seed in seeds for who in titles]
    return sheet(rows, columns, prompts)


def save_nearest(path: Path, memory: dict[str, Any], drawn: list[Any], measures: Any) -> None:
    """Show the pictures nearest to training pictures, in a folder that goes when these must."""
    from training.images.drawing.grid import save_png, sheet

    due = measures.subject.pictures.due
    if due is not None:
        stamp(path.parent, max(0.0, due - time.time()) / 3600, time.time())
    near = memory["similarity"]
    order = sorted(range(len(drawn)), key=lambda place: -near[place])[:SHOWN]
    rows = [[drawn[place], measures.train[memory["nearest"][place]]] for place in order]
    names = [measures.subject.pictures.train[memory["nearest"][place]].name for place in order]
    labels = [
        f"similarity {near[place]:.3f}: {name}" for place, name in zip(order, names, strict=True)
    ]
    save_png(sheet(rows, ("drawn", "nearest training picture"), labels), path)


def main(
    recipe_file: RecipeFile,
    base: BaseFolder = None,
    data: DataFolder = None,
    runs: RunsFolder = Path("runs"),
    changes: Changes = None,
    samples: Annotated[int, typer.Option(help="Pictures by held-out captions", min=1)] = SAMPLES,
    attribute: Annotated[
        list[str] | None, typer.Option(help="A field of the listing to judge; may be repeated")
    ] = None,
    clip: ModelFolder = None,
    dino: ModelFolder = None,
    judge: Annotated[
        Path | None, typer.Option(help="Weights of training.judge_jewellery, to judge attributes")
    ] = None,
) -> None:
    """Compare a LoRA for pictures with its base; write a sheet and a report."""
    from training.images.evaluation import report

    recipe = with_folder(load_image_recipe(recipe_file, tuple(changes or ())), data)
    run = open_run(recipe, runs)
    console, names = Console(), tuple(attribute or ())
    with console.status("loading") as status, memory_told(MEMORY_HELP):
        values = evaluate_image(recipe, run, base, samples, names, clip, dino, judge, status.update)
    command = command_line(
        "evaluate_image",
        [recipe_file],
        base,
        *(("set", change, None) for change in changes or ()),
        ("samples", samples, SAMPLES),
        *(("attribute", name, None) for name in names),
    )
    page = report.page(recipe.expert.title or recipe.expert.name, values, command)
    path = write_report(run / "evaluation", page, values)
    lines = report.lines_of(values)
    facts = {**values, "lines": lines, "outputs": {"report": digest_of_file(path)}}
    note_stage(run, recipe, "evaluate_image", facts)
    for line in lines:
        say(line)
    say(f"Report: {path}")
    say(f"Next: python -m training.publish {recipe_file}")


if __name__ == "__main__":
    run_stage(main)

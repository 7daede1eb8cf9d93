"""Stage three: has an expert learnt its author's manner, and only the manner?

Recipes named together are compared: every expert on every author's held-out text.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from training.run import stage
from training.run.evaluation import command_line, next_line, sets_of, write_report
from training.run.recipe import load_recipe, placeless
from training.run.record import digest_of_file, note_stage
from training.text.evaluation import report, style
from training.text.evaluation.subject import Author, authors_of, load_with_adapters

BLOCKS = 64  # held-out blocks an author, for the matrix
SAMPLES = 30
LENGTH = 160  # tokens a sample


def evaluate(
    authors: Sequence[Author],
    base: Path | None,
    blocks: int,
    samples: int,
    length: int,
    told: Callable[[str], None],
) -> dict[str, Any]:
    from training.text.evaluation.measures import Measures, diversities

    seed = authors[0].recipe.run.seed
    random.seed(seed)
    model, tokenizer = load_with_adapters(authors, base)
    measures = Measures(authors, model, tokenizer, told)
    written = measures.samples(samples, length, seed)
    values: dict[str, Any] = {
        "base": placeless(authors[0].recipe.base.id),
        "samples": samples,
        "matrix": measures.matrix(blocks),
        "style": {},
        "ceiling": {},
        "delta": measures.delta(written),
        "memory": measures.memory(written),
        "diversity": diversities(written, authors),
        "side_by_side": measures.side_by_side(length, seed),
        "written": written,
    }
    if len(authors) > 1:
        told("style classifier")
        train = {author.name: author.train for author in authors}
        test = {author.name: author.test for author in authors}
        classifier = style.fit(train, test, seed)
        values["style"] = measures.style(classifier, written)
        values["ceiling"] = classifier.ceiling
    return values


def metrics_of(author: str, values: dict[str, Any]) -> dict[str, Any]:
    return {
        "matrix": {name: row[author] for name, row in values["matrix"].items()},
        "style": values["style"].get(author, {}),
        "style_ceiling": values["ceiling"].get(author),
        "delta": values["delta"][author],
        "memory": values["memory"][author],
        "diversity": values["diversity"][author],
        "samples": values["samples"],
    }


def main(
    recipe_files: Annotated[list[Path], typer.Argument(help="Recipes to compare, on one base")],
    base: stage.BaseFolder = None,
    runs: stage.RunsFolder = Path("runs"),
    changes: stage.Changes = None,
    blocks: Annotated[int, typer.Option(help="Held-out blocks an author", min=1)] = BLOCKS,
    samples: Annotated[int, typer.Option(help="Samples a writer", min=1)] = SAMPLES,
    length: Annotated[int, typer.Option(help="Tokens a sample", min=8)] = LENGTH,
    into: Annotated[
        Path | None,
        typer.Option("--report", help="Folder of the report (else RUNS/evaluation-NAMES)"),
    ] = None,
) -> None:
    """Compare experts with each other and with their base; write one report."""
    stage.require_extra("sklearn")
    recipes = [load_recipe(path, tuple(changes or ())) for path in recipe_files]
    authors = authors_of(recipes, runs)
    with Console().status("loading") as status:
        values = evaluate(authors, base, blocks, samples, length, status.update)
    folder = into or runs / ("evaluation-" + "-".join(author.name for author in authors))
    own = (("blocks", blocks, BLOCKS), ("samples", samples, SAMPLES), ("length", length, LENGTH))
    command = command_line("evaluate_text", recipe_files, base, *sets_of(changes), *own)
    path = write_report(folder, report.page(values, command), values)
    for author in authors:
        facts = metrics_of(author.name, values) | {"outputs": {"report": digest_of_file(path)}}
        note_stage(stage.open_run(author.recipe, runs), author.recipe, "evaluate_text", facts)
    stage.say(report.gains(values["matrix"]))
    stage.say(f"Report: {path}")
    for recipe_file in recipe_files:
        stage.say(next_line("publish", recipe_file, base, runs, changes))


if __name__ == "__main__":
    stage.run_stage(main)

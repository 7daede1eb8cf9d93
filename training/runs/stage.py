"""What every stage's command line shares: options, the run folder, errors told plainly."""

import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from engine.errors import PasticheError
from training.errors import TrainingError
from training.runs.expiry import purge
from training.runs.record import Recorded
from training.museum.retention import prune_all

LIBRARIES = r"(peft|transformers|diffusers|torch|bitsandbytes|accelerate)(\.|$)"  # not for people
CANNOT = 2  # exit status of a run that its operator can put right

RecipeFile = Annotated[Path, typer.Argument(help="The recipe, for example training/recipes/x.toml")]
RunsFolder = Annotated[Path, typer.Option("--runs", help="Folder that holds one folder a run")]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one recipe value: --set training.batch=2 (recorded)"),
]
BaseFolder = Annotated[
    Path | None, typer.Option("--base", help="A local folder to use in place of the recipe's base")
]


def run_stage(main: Callable[..., None] | typer.Typer) -> None:
    """Run a stage's `main`, or its commands; faults people can mend are shown without a traceback."""
    warnings.filterwarnings("ignore", module=LIBRARIES)
    try:
        main() if isinstance(main, typer.Typer) else typer.run(main)
    except (TrainingError, PasticheError) as error:
        told = f"[bold red]Stopped.[/] {escape(str(error))}"
        Console(stderr=True).print(told, highlight=False, soft_wrap=True)
        sys.exit(CANNOT)


def open_run(recipe: Recorded, runs: Path) -> Path:
    """The run's folder, after deleting texts and museum pictures whose time is over."""
    purge(runs, time.time())
    prune_all(runs, time.time())
    run = runs / recipe.run.name
    run.mkdir(parents=True, exist_ok=True)
    return run

"""What every stage's command line shares: options, the run folder, errors told plainly."""

import logging
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from engine.backends.memory import is_out_of_memory
from engine.errors import PasticheError
from engine.lock import owners_pid, take_lock
from training.errors import TrainingError, TrainingStopped
from training.museum.retention import prune_all
from training.run.expiry import purge
from training.run.recipe import RunRecipe

LIBRARIES = (  # what these say by the way is not for people
    *("peft", "transformers", "diffusers", "torch", "bitsandbytes", "accelerate"),
    *("huggingface_hub", "datasets"),
)
LOCK = "training.lock"
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

Fresh = Annotated[bool, typer.Option("--fresh", help="Delete checkpoints, start over")]


def run_stage(main: Callable[..., None] | typer.Typer) -> None:
    """Run a stage's `main`, or its commands; show faults people can mend without a traceback."""
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(logging.ERROR)
        warnings.filterwarnings("ignore", module=rf"{name}(\.|$)")
    try:
        main() if isinstance(main, typer.Typer) else typer.run(main)
    except (TrainingError, PasticheError) as error:
        told = f"[bold red]Stopped.[/] {escape(str(error))}"
        Console(stderr=True).print(told, highlight=False, soft_wrap=True)
        sys.exit(CANNOT)


def open_run(recipe: RunRecipe, runs: Path, fresh: bool = False) -> Path:
    """Give the run's folder, after deleting texts and museum pictures whose time is over."""
    delete_due(runs)
    run = runs / recipe.run.name
    run.mkdir(parents=True, exist_ok=True)
    if fresh and os.environ.get("RANK", "0") == "0":  # of several processes the first
        with alone_in(run):
            shutil.rmtree(run / "checkpoints", ignore_errors=True)
    return run


def alone_in(run: Path) -> IO[str]:
    """Lock a run's folder for the length of a block; raises TrainingStopped where another has it."""
    if lock := take_lock(run, Path(), LOCK):
        return lock
    raise TrainingStopped(
        f"Another process ({owners_pid(run, LOCK)}) is training in {run}. Wait for it, or give this "
        "recipe a new [run] name."
    )


def require_extra(*modules: str, extra: str = "train") -> None:
    """Raise TrainingError, before any work, when a package of this extra is missing."""
    if missing := [name for name in modules if find_spec(name) is None]:
        raise TrainingError(
            f"This needs {', '.join(missing)}, which is not installed. In the folder of the program: "
            f".venv/bin/pip install -c constraints.txt -e '.[{extra}]'"
        )


def delete_due(runs: Path) -> tuple[int, int]:
    """Delete texts and museum pictures whose time is over; counts folders and pictures."""
    return len(purge(runs, time.time())), prune_all(runs, time.time())


def say(line: str) -> None:
    Console(soft_wrap=True, highlight=False, markup=False).print(line)


@contextmanager
def memory_told(told: str) -> Iterator[None]:
    """Turn any kind of running out of memory into one message that says what to lower."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingStopped(told) from error

"""Making the embedded bases ready before they are needed, with a bar on the screen."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from engine import bases
from engine.database import check_key, revisions
from engine.registry import load_registry
from engine.settings import Settings


def prepare_bases(settings: Settings, console: Console) -> None:
    """Make the profile's embedded bases ready, with a bar if there is something to do."""
    if settings.backend == "echo":
        return
    registry = load_registry(settings.expert_roots, settings.profile)
    wanted = {registry.weights(e).base for e in registry.experts} & set(bases.EMBEDDED)
    todo = sorted(b for b in wanted if not bases.present(b, settings.models))
    if not todo:
        return
    if revisions(settings)[0] is not None:
        check_key(settings)  # before anybody waits for a model that no key will let them use
    bar = BarColumn(bar_width=20)
    columns = (SpinnerColumn(), bar, TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        for base in todo:
            task = progress.add_task("preparing the model", total=len(bases.STEPS))

            def step(what: str, task: Any = task) -> None:
                done = bases.STEPS.index(what)
                progress.update(task, completed=done, description=f"preparing the model: {what}")

            bases.prepare(base, settings.models, step)
            progress.update(task, completed=len(bases.STEPS), description=f"{base} is ready")

"""Making the embedded bases ready before they are needed, with a bar on the screen."""

from typing import Any

from rich.console import Console

from engine.ledger.storage import check_key, revisions
from engine.plan.cards import load_registry
from engine.settings import Settings
from engine.weights import bases
from engine.weights.weight_files import damaged


def prepare_bases(settings: Settings, console: Console, *, verify: bool = False) -> None:
    """Make the profile's embedded bases ready, with a bar if there is something to do.

    Whether a file has its size is looked at each time, whether it has its bytes only to `verify`.
    """
    if settings.backend == "echo":
        return
    registry = load_registry(settings.expert_roots, settings.profile)
    wanted = {registry.weights(e).base for e in registry.experts} & set(bases.EMBEDDED)
    todo = sorted(
        base
        for base in wanted
        if not bases.present(base, settings.models) or (verify and damaged(settings.models / base))
    )
    if not todo:
        return
    if revisions(settings)[0] is not None:
        check_key(settings)  # before anybody waits for a model that no key will let them use
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from engine.weights import conversion

    bar = BarColumn(bar_width=20)
    columns = (SpinnerColumn(), bar, TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        for base in todo:
            task = progress.add_task("preparing the model", total=len(conversion.STEPS))

            def step(what: str, task: Any = task) -> None:
                done = conversion.STEPS.index(what)
                progress.update(task, completed=done, description=f"preparing the model: {what}")

            conversion.prepare(base, settings.models, step)
            progress.update(task, completed=len(conversion.STEPS), description=f"{base} is ready")
        if (semantic := settings.semantic()) is not None:
            progress.add_task("preparing the router", total=None)
            semantic.nearest(
                "Once.", registry.experts
            )  # so that the first wish need not wait for it

"""Making the embedded bases ready before they are needed, with a bar on the screen."""

from rich.console import Console

from engine.errors import CommandError
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
    for base in todo:
        prepare(base, settings, console)
    if (semantic := settings.semantic()) is not None:
        with console.status("preparing the router"):  # so that the first wish need not wait for it
            semantic.nearest("Once.", registry.experts)


def prepare_one(base: str, settings: Settings, console: Console, *, agreed: bool) -> None:
    """Make one embedded base ready, after a person has agreed to its terms, if it has any."""
    if base not in bases.EMBEDDED:
        known = ", ".join(sorted(bases.EMBEDDED))
        raise CommandError(f"There is no embedded base {base!r}. There are: {known}.")
    if terms := bases.EMBEDDED[base].terms:
        from rich.prompt import Confirm

        console.print(terms, highlight=False)
        if not agreed and not (console.is_terminal and Confirm.ask("Do you agree?", default=False)):
            raise CommandError(f"Nothing was prepared. To agree: pastiche prepare {base} --agree")
    prepare(base, settings, console, agreed=True)


def prepare(base: str, settings: Settings, console: Console, *, agreed: bool = False) -> None:
    """Convert a base, with a bar."""
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    from engine.weights import conversion

    bar = BarColumn(bar_width=20)
    columns = (SpinnerColumn(), bar, TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("preparing the model", total=len(conversion.STEPS))

        def step(what: str) -> None:
            done = conversion.STEPS.index(what)
            progress.update(task, completed=done, description=f"preparing the model: {what}")

        conversion.prepare(base, settings.models, step, agreed=agreed)
        progress.update(task, completed=len(conversion.STEPS), description=f"{base} is ready")

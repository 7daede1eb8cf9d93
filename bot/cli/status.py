"""`pastiche status`: the queue, the workers and the dead jobs, for those who run the bot."""

import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bot.exit_codes import OURS, logged
from engine import Engine, shutdown
from engine.errors import CommandError, SetupError
from engine.ledger.storage import revisions
from engine.overview import WINDOW_MINUTES, DeadJob, Overview, WorkerSeen
from engine.process.bootstrap import open_engine
from engine.settings import Settings

SILENT_SECONDS = 30.0  # a worker that gave no sign for so long is shown in yellow
# A worker's state, and its colour.
STATES = {
    "ready": "green",
    "starting": "yellow",
    "draining": "yellow",
    "unfit": "red",
    "away": "red",
}

status_app = typer.Typer(help="The queue, the workers and the dead jobs.")
Result = TypeVar("Result")


def _with_engine(settings: Settings, work: Callable[[Engine], Awaitable[Result]]) -> Result:
    """Ask the engine that runs here, or look into the ledger that lies here. Raises SetupError."""
    current, newest = revisions(settings)
    if current is None:
        raise SetupError("There is no ledger yet. Start with: pastiche chat, or pastiche serve")
    if current != newest:
        raise SetupError(
            f"The ledger has schema {current}, this program {newest}. Run first: pastiche db upgrade"
        )

    async def run() -> Result:
        async with open_engine(settings, workers=False) as core:
            return await work(core)

    return shutdown.run(run())


@status_app.callback(invoke_without_command=True)
def status_command(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Show what waits and runs, who works, how fast it goes, and what was given up.

    Exit code 1 if a job is dead, if jobs wait that no worker can take, or if a worker is unfit.
    """
    if context.invoked_subcommand:
        return
    with logged("pastiche") as settings:
        overview = _with_engine(settings, lambda core: core.overview())
        if as_json:
            sys.stdout.write(json.dumps(asdict(overview), ensure_ascii=False, indent=2) + "\n")
        else:
            show(overview, Console())
        unfit = any(worker.state == "unfit" for worker in overview.workers)
        raise typer.Exit(OURS if unfit or overview.unserved or overview.dead else 0)


@status_app.command("retry")
def retry_command(job: Annotated[str, typer.Argument(help="A dead, failed or stuck job.")]) -> None:
    """Queue a job again that was given up; whoever asked gets the answer after all."""
    with logged("pastiche") as settings:
        if not _with_engine(settings, lambda core: core.retry(job)):
            raise CommandError(
                f"{job} cannot be queued again: it is finished or cancelled, it waits already, "
                "its words are no longer kept, or there is no such job."
            )
        sys.stdout.write(f"{job} is queued again.\n")


@status_app.command("drop")
def drop_command(
    job: Annotated[str, typer.Argument(help="A job that waits, runs or is dead.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """End a job for good: it leaves the list, and cannot be retried. Who still waits is told."""
    with logged("pastiche") as settings:
        question = f"End {job} for good? It will not be answered."
        if not yes and not sys.stdin.isatty():
            raise CommandError(f"{question} Say --yes to mean it.")
        if not yes and not typer.confirm(question):
            raise CommandError("Nothing was changed.")
        if not _with_engine(settings, lambda core: core.drop(job)):
            raise CommandError(f"{job} is over already, or there is no such job.")
        sys.stdout.write(f"{job} is over.\n")


def show(overview: Overview, console: Console) -> None:
    """Print the whole overview on a terminal of any width."""
    console.print(Text(f"Queue ({overview.kind})", style="bold"))
    console.print(_media(overview))
    if overview.workers:
        console.print(Text("Workers", style="bold"))
        console.print(_workers(overview))
        for worker in overview.workers:
            if worker.reason:
                console.print(Text(f" {_label(worker)}: {worker.reason}", style="red"))
    else:
        console.print(Text(f"No worker is here{_next(overview)}", style="yellow"))
    for line in overview.unserved:
        console.print(Text(line, style="red"))
    if overview.dead or overview.failed:
        console.print(Text("Given up", style="bold"))
        for job in (*overview.dead, *overview.failed):
            console.print(_dead(job))
        console.print(
            "pastiche status retry JOB queues one again, drop JOB ends it for good.",
            markup=False, highlight=False, style="dim",
        )  # fmt: skip


def _next(overview: Overview) -> str:
    if overview.unserved:
        return "."
    if overview.kind == "embedded":
        return "; one starts with the next request."
    return ". Start one: pastiche worker --media text"


def _plain(*columns: str) -> Table:
    table = Table(box=None, pad_edge=True, header_style="dim")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column[0] == ">" else "left")
    return table


def _media(overview: Overview) -> Table:
    rate = f">answered/min ({WINDOW_MINUTES:.0f} min)"
    table = _plain("medium", ">waiting", ">running", ">oldest", rate)
    for one in overview.media:
        oldest = duration(one.oldest_seconds) if one.queued + one.running else "-"
        numbers = str(one.queued), str(one.running), oldest, f"{one.done_per_minute:.1f}"
        table.add_row(one.medium, *numbers)
    return table


def _workers(overview: Overview) -> Table:
    table = _plain("worker", "medium", "state", ">busy", "serves", ">seen")
    for worker in overview.workers:
        silent = worker.seen_seconds > SILENT_SECONDS
        table.add_row(
            Text(_label(worker)),
            worker.medium,
            Text(worker.state, style=STATES.get(worker.state, "")),
            f"{worker.running}/{worker.slots}",
            Text(", ".join(worker.queues) or "all"),
            Text(f"{duration(worker.seen_seconds)} ago", style="yellow" if silent else ""),
        )
    return table


def _dead(job: DeadJob) -> Padding:
    line = Text(f"{job.job}  ")
    line.append(job.state, style="red" if job.state == "dead" else "yellow")
    tries = "1 try" if job.attempt == 1 else f"{job.attempt} tries"
    line.append(f"  {job.medium}/{job.expert}  {tries}  {duration(job.seconds_ago)} ago")
    line.append(f"\n  {job.reason}" if job.reason else "", style="dim")
    return Padding(line, (0, 0, 0, 1))


def _label(worker: WorkerSeen) -> str:
    return f"{worker.host}:{worker.pid}" if worker.host else worker.name


def duration(seconds: float) -> str:
    """Shorten a time for a narrow column.

    >>> duration(0.2), duration(59), duration(90), duration(7300), duration(200_000)
    ('0 s', '59 s', '1 min', '2 h', '2 d')
    """
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"

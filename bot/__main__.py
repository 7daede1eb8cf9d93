"""The `pastiche` command."""

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from bot.conversation import Said, converse
from bot.doctor import examine
from bot.grammar import MAX_TEXT, Again, Command, Continue, Generate, Options, parse
from bot.terminal_client import answer, chat, stoppable, terminal_asker
from engine import Engine, bases
from engine.adding import NewExpert, add_expert
from engine.bootstrap import LastingEngine
from engine.database import revisions, sqlite_file, upgrade
from engine.errors import KIND_SENTENCE, AskerError, CommandError, SetupError
from engine.events import Cancelled, Event, Failed, Finished
from engine.logs import start_logs
from engine.registry import load_registry
from engine.settings import Settings, read_settings
from engine.supervisor import UNFIT

MENDABLE = 2  # exit code of a request that the asker can mend
OURS = 1
STOPPED = 130  # as shells call a program that Ctrl-C ended

app = typer.Typer(
    name="pastiche",
    help="Stories written openly in a declared manner, by small experts that a rule chooses.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
experts_app = typer.Typer(help="Who can answer, and with what.", invoke_without_command=True)
db_app = typer.Typer(help="The ledger's schema.", no_args_is_help=True)
app.add_typer(experts_app, name="experts")
app.add_typer(db_app, name="db")
log = logging.getLogger("pastiche")


@contextlib.contextmanager
def faults() -> Iterator[None]:
    """One clear sentence on stderr and the right exit code for everything that can go wrong."""
    try:
        yield
    except AskerError as error:
        _fail(str(error), MENDABLE)
    except SetupError as error:
        log.exception("stopped")
        _fail(str(error), OURS)
    except BrokenPipeError:
        # Nobody reads on (`| head`): not an error, and nothing may be flushed at exit either.
        sys.stdout = None
        raise typer.Exit(0) from None
    except KeyboardInterrupt:
        raise typer.Exit(STOPPED) from None
    except typer.Exit:
        raise
    except Exception:
        log.exception("stopped")
        _fail(KIND_SENTENCE, OURS)


def _fail(message: str, code: int) -> None:
    sys.stderr.write(f"{message}\n")
    raise typer.Exit(code)


def _settings(name: str) -> Settings:
    settings = read_settings()
    start_logs(settings.home, name, settings.log_level)
    return settings


def prepare_bases(settings: Settings, console: Console) -> None:
    """Make the profile's embedded bases ready, with a bar if there is something to do."""
    if settings.backend == "echo":
        return
    registry = load_registry(settings.expert_roots, settings.profile)
    wanted = {registry.weights(e).base for e in registry.experts} & set(bases.EMBEDDED)
    todo = sorted(b for b in wanted if not bases.present(b, settings.models))
    if not todo:
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        for base in todo:
            task = progress.add_task(f"preparing {base}, once", total=len(bases.STEPS))

            def step(what: str, task: Any = task, base: str = base) -> None:
                done = bases.STEPS.index(what)
                progress.update(task, completed=done, description=f"preparing {base}: {what}")

            bases.prepare(base, settings.models, step)
            progress.update(task, completed=len(bases.STEPS), description=f"{base} is ready")


@app.command("prepare")
def prepare_command() -> None:
    """Make the models of the profile ready, and the ledger. `chat` does this by itself."""
    with faults():
        settings = _settings("pastiche")
        prepare_bases(settings, Console(stderr=True))
        upgrade(settings)
        sys.stdout.write(f"Ready. The data folder is {settings.home}\n")


@app.command("chat")
def chat_command() -> None:
    """Talk to the experts in this terminal. Reads a pipe too: a line with / begins a request."""
    with faults():
        settings = _settings("pastiche")
        prepare_bases(settings, Console(stderr=True))
        history = settings.home / "history"

        async def run() -> int:
            async with LastingEngine(settings, warm=("text",)) as engine:
                return await chat(engine, Console(), history)

        raise typer.Exit(asyncio.run(run()))


@app.command("ask")
def ask_command(
    text: Annotated[str, typer.Argument(help="What you would type in the chat; - reads stdin.")],
    style: Annotated[str | None, typer.Option(help="Who answers, whatever the text says.")] = None,
    length: Annotated[int | None, typer.Option(help="About how many tokens.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed and words, same answer.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One event a line.")] = False,
) -> None:
    """Ask one thing; the answer streams to stdout.

    Exit code 0; 2 when the request can be mended; 1 when the fault is ours.
    """
    with faults():
        typed = _stdin() if text == "-" else text
        settings = _settings("pastiche")
        command = _with(
            parse(typed, load_registry(settings.expert_roots, settings.profile).commands),
            Options(style=style, length=length, seed=seed),
        )
        prepare_bases(settings, Console(stderr=True))
        raise typer.Exit(asyncio.run(_ask(command, settings, as_json)))


def _stdin() -> str:
    """Standard input, never more of it than a request may have."""
    raw = sys.stdin.buffer.read(4 * MAX_TEXT + 1)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if error.end >= len(raw) - 3 > 3 * MAX_TEXT:  # cut in the middle of a character
            return raw[: error.start].decode("utf-8-sig")
        raise CommandError("The text is not UTF-8. Please convert it first.") from None


def _with(command: Command, options: Options) -> Command:
    """The command line's options before the text's own."""
    given = {name: value for name, value in asdict(options).items() if value is not None}
    if not given:
        return command
    if not isinstance(command, Generate | Again | Continue):
        raise CommandError(f"/{command.name} takes no options.")
    return replace(command, options=replace(command.options, **given))


async def _ask(command: Command, settings: Settings, as_json: bool) -> int:
    async with LastingEngine(settings) as engine:
        who = terminal_asker()
        if as_json:
            return await _print_events(converse(command, who, engine), engine)
        console = Console()
        notes = console if console.is_terminal else Console(stderr=True)
        draft = await answer(command, who, engine, console, notes)
    match draft.final:
        case Failed():
            return OURS
        case Cancelled():
            return STOPPED
        case _:
            return 0


async def _print_events(events: AsyncIterator[Event | Said], engine: Engine) -> int:
    code = 0
    async with stoppable(engine) as running:
        async for event in events:
            print(json.dumps(asdict(event), ensure_ascii=False), flush=True)  # noqa: T201
            match event:
                case Said():
                    pass
                case Finished(job=job):
                    await engine.delivered(job)
                case Failed():
                    code = OURS
                case Cancelled():
                    code = STOPPED
                case _:
                    running.job = event.job
    return code


@experts_app.callback()
def experts_command(context: typer.Context) -> None:
    """A table of the experts: name, medium, command, base, adapter, and what is present."""
    if context.invoked_subcommand is not None:
        return
    with faults():
        settings = read_settings()
        registry = load_registry(settings.expert_roots, settings.profile)
        table = Table("name", "medium", "command", "base", "adapter", title=settings.profile)
        for expert in registry.experts:
            weights = registry.weights(expert)
            adapter = _presence(weights.adapter, settings) if weights.adapter else "none"
            if weights.adapter and not bases.present(weights.adapter, settings.models):
                adapter += "; base model, no adapter yet"
            base = _presence(weights.base, settings)
            table.add_row(expert.name, expert.medium, f"/{expert.command}", base, adapter)
        console = Console()
        console.print(table)
        for problem in registry.problems:
            console.print(f"set aside: {problem}", style="yellow", markup=False)


def _presence(spec: str, settings: Settings) -> str:
    here = "present" if bases.present(spec, settings.models) else "missing"
    if bases.is_hub_id(spec) and here == "missing":
        here = "on the hub"
    name = spec if bases.is_hub_id(spec) or spec in bases.EMBEDDED else Path(spec).name
    return f"{name} ({here})"


@experts_app.command("add")
def experts_add(
    spec: Annotated[str, typer.Argument(metavar="PATH_OR_HUB_ID", help="The adapter's folder.")],
    licence: Annotated[str, typer.Option(help="The licence of these weights.")],
    name: Annotated[
        str, typer.Option(help="Its name here; default: the last part of the path.")
    ] = "",
    title: Annotated[str, typer.Option(help="Its name for people; default: the name.")] = "",
    command: Annotated[str, typer.Option(help="The command that it answers.")] = "story",
    base: Annotated[str, typer.Option(help="Its base, if the adapter does not say.")] = "",
    about: Annotated[str, typer.Option(help="One sentence for people.")] = "",
    keyword: Annotated[
        list[str] | None, typer.Option(help="A word that calls it; repeatable.")
    ] = None,
    replace_it: Annotated[
        bool, typer.Option("--replace", help="Put it in another's place.")
    ] = False,
) -> None:
    """Check an adapter, record its digest, and write a card for it into the data folder."""
    with faults():
        settings = _settings("pastiche")
        chosen = name or Path(spec).name.lower().replace(" ", "-").replace(".", "-")
        new = NewExpert(
            spec=spec,
            name=chosen,
            title=title or chosen,
            licence=licence,
            command=command,
            base=base,
            about=about,
            keywords=tuple(keyword or ()),
            replace=replace_it,
        )
        card = add_expert(new, settings)
        sys.stdout.write(f"{chosen} is added: {card}\nTry: pastiche ask '...' --style {chosen}\n")


@app.command("worker")
def worker_command(
    medium: Annotated[str, typer.Option(help="text or image")] = "text",
) -> None:
    """Serve a running bot's queue with one more worker, until that bot ends."""
    with faults():
        settings = read_settings()
        start_logs(settings.home, f"worker-{medium}", settings.log_level)
        from engine.worker import work

        try:
            code = asyncio.run(work(settings, medium))
        except (ConnectionError, FileNotFoundError):
            raise CommandError(
                f"No bot is running on {settings.home}. Start one first: pastiche chat"
            ) from None
        if code == UNFIT:
            raise SetupError(f"This worker cannot work; why stands in {settings.home / 'logs'}.")
        raise typer.Exit(code)


@app.command("doctor")
def doctor_command(
    generate: Annotated[bool, typer.Option(help="Ask a worker for a few words.")] = True,
) -> None:
    """Look for what is wrong, and say what to do. Exit code 1 if anything is."""
    with faults():
        settings = _settings("pastiche")
        console = Console()
        style = {"ok": "green", "note": "yellow", "bad": "red"}

        async def run() -> bool:
            sound = True
            async with aclosing(examine(settings, generate=generate)) as findings:
                async for finding in findings:
                    console.print(f"[{style[finding.mark]}]{finding.mark:4}[/] ", end="")
                    console.print(finding.what, markup=False, highlight=False)
                    if finding.advice:
                        console.print(f"     {finding.advice}", markup=False, highlight=False)
                    sound &= finding.mark != "bad"
            return sound

        raise typer.Exit(0 if asyncio.run(run()) else OURS)


@db_app.command("upgrade")
def db_upgrade() -> None:
    """Bring the ledger to this program's schema, after a backup copy."""
    with faults():
        settings = _settings("pastiche")
        backup = upgrade(settings)
        if backup:
            sys.stdout.write(f"The ledger as it was: {backup}\n")
        sys.stdout.write(f"Schema {revisions(settings)[0]}\n")


@db_app.command("current")
def db_current() -> None:
    """Which schema the ledger has, and which is the newest."""
    with faults():
        settings = read_settings()
        current, newest = revisions(settings)
        where = sqlite_file(settings)
        sys.stdout.write(f"{where}: schema {current or 'none yet'}, newest {newest}\n")


def main() -> None:
    """The console script."""
    logging.getLogger().addHandler(logging.NullHandler())  # until start_logs: stderr is for people
    app()


if __name__ == "__main__":
    main()

"""The `pastiche` command."""

import asyncio
import logging
import sys
from contextlib import aclosing
from dataclasses import asdict, replace
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from bot.cleaning import MAX_TEXT, too_long
from bot.conversation import converse
from bot.doctor import examine
from bot.exits import OURS, STOPPED, faults, logged_settings
from bot.experts_cli import experts_app
from bot.grammar import (
    Again,
    Command,
    Compare,
    Continue,
    Generate,
    parse,
)
from bot.media_cli import media_app
from bot.options import Options, checked_style
from bot.settings import read_platform_settings
from bot.status_cli import status_app
from bot.study_cli import study_app
from bot.terminal_client import answer, chat, print_events, terminal_asker
from bot.terminal_desk import TerminalDesk
from engine import bases
from engine.bootstrap import LastingEngine
from engine.database import check_key, make_ready, on_server, revisions, storage_of, upgrade
from engine.desk.desk import open_desk
from engine.errors import CommandError, SetupError
from engine.events import Cancelled, Failed
from engine.lock import take_lock
from engine.logs import start_logs
from engine.registry import load_registry
from engine.settings import Settings, read_settings

LONGEST = 4 * MAX_TEXT  # bytes; a character has four at most

app = typer.Typer(
    name="pastiche",
    help="Stories written openly in a declared manner, by small experts that a rule chooses.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
db_app = typer.Typer(help="The ledger's schema.", no_args_is_help=True)
app.add_typer(experts_app, name="experts")
app.add_typer(status_app, name="status")
app.add_typer(media_app, name="media")
app.add_typer(db_app, name="db")
app.add_typer(study_app, name="study")


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


def _upgrade(settings: Settings) -> str | None:
    """Under the owner's lock: nobody else may have the ledger's file open meanwhile."""
    if on_server(settings):
        return upgrade(settings)
    lock = take_lock(settings.home, settings.socket)
    if lock is None:
        if len(set(revisions(settings))) == 1:
            return None
        raise SetupError("A bot is running on this data folder. Stop it, then upgrade.")
    with lock:
        return upgrade(settings)


@app.command("prepare")
def prepare_command() -> None:
    """Make the models of the profile ready, and the ledger. `chat` does this by itself."""
    with faults():
        settings = logged_settings("pastiche")
        prepare_bases(settings, Console(stderr=True))
        make_ready(settings) if on_server(settings) else _upgrade(settings)
        sys.stdout.write(f"Ready. The data folder is {settings.home}\n")


@app.command("chat")
def chat_command() -> None:
    """Talk to the experts in this terminal. Reads a pipe too: a line with / begins a request."""
    with faults():
        settings = logged_settings("pastiche")
        prepare_bases(settings, Console(stderr=True))

        async def run() -> int:
            async with LastingEngine(settings, warm=("text",)) as core, open_desk(settings) as desk:
                there = TerminalDesk(core, desk)
                await there.keep_house()
                return await chat(core, Console(), settings.saved_pictures, there)

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
        settings = logged_settings("pastiche")
        command = _with(
            parse(typed, load_registry(settings.expert_roots, settings.profile).commands),
            Options(
                style=None if style is None else checked_style(style), length=length, seed=seed
            ),
        )
        prepare_bases(settings, Console(stderr=True))
        raise typer.Exit(asyncio.run(_ask(command, typed, settings, as_json)))


def _stdin() -> str:
    """Standard input, refused as soon as there is more of it than a request may have."""
    if sys.stdin is None:
        return ""
    raw = sys.stdin.buffer.read(LONGEST + 1)
    if len(raw) > LONGEST:
        raise too_long()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CommandError("The text is not UTF-8. Please convert it first.") from None


def _with(command: Command, options: Options) -> Command:
    """The command line's options before the text's own."""
    given = {
        name: value
        for name, value in asdict(options).items()
        if value is not None and value is not False
    }
    if not given:
        return command
    if not isinstance(command, Generate | Again | Continue | Compare):
        raise CommandError(f"/{command.name} takes no options.")
    return replace(command, options=replace(command.options, **given))


async def _ask(command: Command, typed: str, settings: Settings, as_json: bool) -> int:
    async with LastingEngine(settings) as core:
        who = replace(terminal_asker(), typed=typed)
        if as_json:
            last = await print_events(converse(command, who, core), core)
        else:
            console = Console()
            notes = console if console.is_terminal else Console(stderr=True)
            pictures = settings.saved_pictures
            last = (await answer(command, who, core, console, notes, pictures)).final
    match last:
        case Failed():
            return OURS
        case Cancelled():
            return STOPPED
        case _:
            return 0


@app.command("serve")
def serve_command(
    discord: Annotated[
        bool, typer.Option("--discord", help="Discord, and only what is named.")
    ] = False,
    telegram: Annotated[bool, typer.Option("--telegram", help="Telegram, likewise.")] = False,
    worker: Annotated[bool, typer.Option(help="Start workers as they are needed.")] = True,
) -> None:
    """Answer on Discord and Telegram: every one whose token is set. Ctrl-C or SIGTERM ends it kindly.

    Exit code 1 when no platform could be served.
    """
    with faults():
        settings = logged_settings("serve")
        from bot.serve import makers, serve, speak

        platforms = read_platform_settings()
        made = makers(platforms, discord=discord, telegram=telegram)
        if settings.log_to == "file":
            speak()
        if worker:
            prepare_bases(settings, Console(stderr=True))
        raise typer.Exit(asyncio.run(serve(settings, platforms, made, workers=worker)))


@app.command("worker")
def worker_command(
    media: Annotated[
        str, typer.Option("--media", "--medium", help="text, image, or text,image (Postgres)")
    ] = "text",
    device: Annotated[str, typer.Option(help="cpu, cuda, or cuda:0, cuda:1 ... (Postgres)")] = "",
    text_server: Annotated[
        str, typer.Option(help="An OpenAI-compatible server that writes the texts: docs/vllm.md")
    ] = "",
) -> None:
    """One more worker: for the bot on this data folder, or for all on the same Postgres.

    On Postgres it serves until SIGTERM, ends what it runs then (PASTICHE_LEAVE_SECONDS), and leaves.
    """
    with faults():
        settings = read_settings(**({"text_server": text_server} if text_server else {}))
        wanted = tuple(dict.fromkeys(media.split(",")))
        if not set(wanted) <= {"text", "image"}:
            raise CommandError("There are two media: --media text, --media image.")
        if on_server(settings):
            start_logs(
                settings.home,
                f"station-{'-'.join(wanted)}",
                settings.log_level,
                settings.log_to,
            )
            prepare_bases(settings, Console(stderr=True))
            from bot.serve import speak
            from engine.fleet import work

            if settings.log_to == "file":
                speak()
            sys.stderr.write(f"Serving {media}. Ctrl-C or SIGTERM ends it kindly.\n")
            asyncio.run(work(settings, wanted, device))
            return
        if len(wanted) > 1 or device:
            raise CommandError("On SQLite a worker has one medium, and the device that it finds.")
        start_logs(settings.home, f"worker-{media}", settings.log_level, settings.log_to)
        from engine.worker import run_worker

        try:
            run_worker(settings, media)
        except (ConnectionError, FileNotFoundError):
            raise CommandError(
                f"No bot is running on {settings.home}. Start one first: pastiche chat"
            ) from None


@app.command("doctor")
def doctor_command(
    generate: Annotated[bool, typer.Option(help="Ask a worker for a few words.")] = True,
) -> None:
    """Look for what is wrong, and say what to do. Exit code 1 if anything is."""
    with faults():
        settings = logged_settings("pastiche")
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
        settings = logged_settings("pastiche")
        backup = _upgrade(settings)
        if backup:
            sys.stdout.write(f"The ledger as it was: {backup}\n")
        sys.stdout.write(f"Schema {revisions(settings)[0]}\n")


@db_app.command("current")
def db_current() -> None:
    """Which schema the ledger has, and which is the newest."""
    with faults():
        settings = read_settings()
        current, newest = revisions(settings)
        where = storage_of(settings).name
        sys.stdout.write(f"{where}: schema {current or 'none yet'}, newest {newest}\n")


def main() -> None:
    """The console script."""
    logging.getLogger().addHandler(logging.NullHandler())  # until start_logs: stderr is for people
    app()


if __name__ == "__main__":
    main()

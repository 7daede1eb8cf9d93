"""The `pastiche` command."""

import io
import logging
import sys
from contextlib import aclosing
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console

from bot.cli.ask import ask_app
from bot.cli.doctor import examine
from bot.cli.experts import experts_app
from bot.cli.media import media_app
from bot.cli.preparation import prepare_bases
from bot.cli.status import status_app
from bot.cli.study import study_app
from bot.exit_codes import OURS, faults, logged_settings, speak
from bot.settings import read_platform_settings
from bot.terminal_client.client import chat
from bot.terminal_client.live_answer import say
from bot.terminal_client.session import open_terminal
from engine import shutdown
from engine.core_dumps import forbid_core_dumps
from engine.errors import CommandError, SetupError
from engine.ledger.storage import make_ready, on_server, revisions, storage_of, upgrade
from engine.lock import take_lock
from engine.monitor.logs import start_logs
from engine.settings import Settings, read_settings

app = typer.Typer(
    name="pastiche",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
db_app = typer.Typer(help="The ledger's schema.", no_args_is_help=True)
app.add_typer(experts_app, name="experts")
app.add_typer(status_app, name="status")
app.add_typer(media_app, name="media")
app.add_typer(db_app, name="db")
app.add_typer(study_app, name="study")
app.registered_commands += ask_app.registered_commands


def _version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"pastiche {version('pastiche')}\n")
        raise typer.Exit


@app.callback()
def _program(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Stories and pictures made openly in a declared manner, by small experts that a rule chooses."""


def _upgrade(settings: Settings) -> str | None:
    """Upgrade under the owner's lock: nobody else may have the ledger's file open meanwhile."""
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
        prepare_bases(settings, Console(stderr=True), verify=True)
        make_ready(settings) if on_server(settings) else _upgrade(settings)
        sys.stdout.write(f"Ready. The data folder is {settings.home}\n")


@app.command("chat")
def chat_command() -> None:
    """Talk to the experts in this terminal. Reads a pipe too: a line with / begins a request."""
    with faults():
        settings = logged_settings("pastiche")
        prepare_bases(settings, Console(stderr=True))

        async def run() -> int:
            async with open_terminal(settings, warm=("text",)) as there:
                return await chat(there, Console())

        raise typer.Exit(shutdown.run(run()))


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
        from bot.serving.serve import makers, serve

        platforms = read_platform_settings()
        made = makers(platforms, discord=discord, telegram=telegram)
        if settings.log_to == "file":
            speak()
        if worker:
            prepare_bases(settings, Console(stderr=True))
        shutdown.finish(shutdown.run(serve(settings, platforms, made, workers=worker)))


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
            from engine.process.shared import work

            if settings.log_to == "file":
                speak()
            sys.stderr.write(f"Serving {media}. Ctrl-C or SIGTERM ends it kindly.\n")
            shutdown.run(work(settings, wanted, device))
            shutdown.finish(0)
        if len(wanted) > 1 or device:
            raise CommandError("On SQLite a worker has one medium, and the device that it finds.")
        start_logs(settings.home, f"worker-{media}", settings.log_level, settings.log_to)
        from engine.workers.worker import run_worker

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
                    say(console, finding.what)
                    if finding.advice:
                        say(console, f"     {finding.advice}")
                    sound &= finding.mark != "bad"
            return sound

        raise typer.Exit(0 if shutdown.run(run()) else OURS)


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
    forbid_core_dumps()
    if isinstance(
        sys.stdout, io.TextIOWrapper
    ):  # what a terminal cannot show is written as a number
        sys.stdout.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    logging.getLogger().addHandler(logging.NullHandler())  # until start_logs: stderr is for people
    app()

"""The `pastiche` command. Each of its commands is imported once it is called for."""

import io
import logging
import sys
from pkgutil import resolve_name
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from engine.core_dumps import forbid_core_dumps

COMMANDS = {  # by name: where it is, and how its own help begins
    "ask": (
        "bot.cli.ask:ask_app",
        "Ask one thing; the answer streams to stdout, pictures are saved and their paths printed.",
    ),
    "prepare": (
        "bot.cli.programs:app",
        "Make the models of the profile ready, and the ledger. `chat` does this by itself.",
    ),
    "chat": (
        "bot.cli.programs:app",
        "Talk to the experts in this terminal. Reads a pipe too: a line with / begins a request.",
    ),
    "serve": (
        "bot.cli.programs:app",
        "Answer on Discord and Telegram: every one whose token is set. "
        "Ctrl-C or SIGTERM ends it kindly.",
    ),
    "worker": (
        "bot.cli.programs:app",
        "One more worker: for the bot on this data folder, or for all on the same Postgres.",
    ),
    "doctor": (
        "bot.cli.doctor:app",
        "Look for what is wrong, and say what to do. Exit code 1 if anything is.",
    ),
    "experts": ("bot.cli.experts:experts_app", "Who can answer, and with what."),
    "status": ("bot.cli.status:status_app", "The queue, the workers and the dead jobs."),
    "log": (
        "bot.cli.export:log_app",
        "Requests with their prompts, experts and answers, as one table.",
    ),
    "media": ("bot.cli.storage:media_app", "The store of pictures."),
    "db": ("bot.cli.storage:app", "The ledger's schema."),
    "study": (
        "bot.cli.study:study_app",
        "A study: consent, its key, retention, experiments, export.",
    ),
}


class LazyGroup(TyperGroup):
    """List commands without importing them."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        for name, (_, about) in COMMANDS.items():
            self.add_command(TyperCommand(name, help=about))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Import the command that is named first. Fails where there is none."""
        name, found, rest = super().resolve_command(ctx, args)
        if name in COMMANDS:
            found = typer.main.get_command(resolve_name(COMMANDS[name][0]))
            found = getattr(found, "commands", {}).get(name, found)  # one of a module's several
        return name, found, rest


app = typer.Typer(
    name="pastiche",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"pastiche {version('pastiche')}\n")
        raise typer.Exit


@app.callback()
def _program(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Say which.")
    ] = False,
) -> None:
    """Stories and pictures made openly in a declared manner, by small experts that a rule chooses."""


def main() -> None:
    forbid_core_dumps()
    if isinstance(sys.stdout, io.TextIOWrapper):  # what cannot be shown is written as a number
        sys.stdout.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")
    logging.getLogger().addHandler(logging.NullHandler())  # until start_logs: stderr is for people
    app()

"""`pastiche study annotators`: who is invited to rate finished items."""

import sys
from typing import Annotated

import typer

from bot.cli.experiments import StudyOption, on_study, settings_of
from bot.exit_codes import faults
from engine.errors import CommandError

annotators_app = typer.Typer(help="Who is invited to /rate finished items.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="As you know them; it is in no export.")]


@annotators_app.command("add")
def add_command(name: Name, study: StudyOption = "") -> None:
    """Invite somebody; the code lets one person in, and is told this once."""
    with faults():
        code = on_study(settings_of(study), lambda services: services.annotators.invite(name))
        sys.stdout.write(
            f"{name} is invited, and says to the bot: /rate {code}\n"
            f"(on Telegram by the link https://t.me/YOURBOT?start=rate-{code})\n"
        )


@annotators_app.command("list")
def list_command(study: StudyOption = "") -> None:
    """Who is invited, who came, and how many items they rated."""
    with faults():
        for name, came, count in on_study(
            settings_of(study), lambda services: services.annotators.listed()
        ):
            state = f"{count} items rated" if came else "not here yet"
            sys.stdout.write(f"{name}: {state}\n")


@annotators_app.command("remove")
def remove_command(name: Name, study: StudyOption = "") -> None:
    """Show somebody no more items; what they rated stays."""
    with faults():
        if not on_study(settings_of(study), lambda services: services.annotators.remove(name)):
            raise CommandError(f"Nobody is invited as {name!r}.")
        sys.stdout.write(f"{name} rates nothing more.\n")

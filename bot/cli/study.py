"""`pastiche study`: opening one, its key, and retention; further commands come from their own files."""

import sys
from typing import Annotated

import typer

from bot.cli.conduct import conduct_app
from bot.cli.design import design_app
from bot.cli.experiments import experiment_app, items_app
from bot.cli.export import export_app
from bot.exit_codes import logged
from engine import shutdown
from engine.errors import CommandError, SetupError
from engine.lock import take_lock
from engine.process.services import open_services
from engine.study.lifecycle import destroy_key, open_named, ready, write_template
from engine.study.study import folder_of, study_key_file

study_app = typer.Typer(
    help="A study: consent, its key, retention, experiments, export.", no_args_is_help=True
)
for part in (export_app, experiment_app, design_app, conduct_app):
    study_app.registered_commands += part.registered_commands
study_app.add_typer(items_app, name="items")
Name = Annotated[str, typer.Argument(help="The study's name: small letters, digits, - and _.")]


@study_app.command("open")
def open_command(
    name: Name,
    title: Annotated[str, typer.Option(help="As people read it.")] = "",
    researcher: Annotated[str, typer.Option(help="Who does it, and where.")] = "",
    contact: Annotated[str, typer.Option(help="Where questions go.")] = "",
    purpose: Annotated[str, typer.Option(help="What it asks, in a sentence.")] = "",
) -> None:
    """Make a study's folder and key, or look whether they are in order."""
    with logged("study") as settings:
        facts = {"title": title, "researcher": researcher, "contact": contact, "purpose": purpose}
        write_template(settings, name, **facts)
        ready(settings)
        study = shutdown.run(open_named(settings, name))
        if study.key is None:
            raise SetupError(study.why)
        key = study_key_file(settings.model_copy(update={"study": name}), name)
        texts = "".join(
            f"Consent text, {text.locale}: version {text.version}, SHA-256 {text.sha256[:16]}…\n"
            for text in study.texts.values()
        )
        sys.stdout.write(
            f"The study {name} is open: {folder_of(settings, name) / 'study.toml'}\n"
            f"Its key: {key} (keep a copy apart from the data; without it nobody can be found)\n"
            f"{texts}To run it, set PASTICHE_STUDY={name} and start the bot again.\n"
        )


@study_app.command("destroy-key")
def destroy_key_command(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="It cannot be undone.")] = False,
) -> None:
    """End a study for good: its rows stay, and nobody can be found in them any more."""
    with logged("study") as settings:
        if not yes:
            raise CommandError(
                "This cannot be undone: /forget, /withdraw and /mydata will find nobody's study rows "
                "any more, and no account can be linked. If that is what you want, add --yes."
            )
        lock = take_lock(settings.home, settings.socket)
        if lock is None:
            raise SetupError("A bot is running on this data folder and has the key. Stop it first.")
        lock.close()
        shutdown.run(destroy_key(settings, name))
        sys.stdout.write(f"The key of {name} is destroyed. Delete your copies of it, too.\n")


@study_app.command("retention")
def retention_command(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
) -> None:
    """One round of retention now: `pastiche serve` has one every hour by itself."""
    with logged("study") as settings:
        ready(settings)

        async def run() -> str:
            async with open_services(settings) as services:
                done = await services.retention.clean(dry_run=dry_run)
            word = "would go" if dry_run else "gone"
            return "".join(f"{name}: {count} {word}\n" for name, count in done.items())

        sys.stdout.write(shutdown.run(run()))

"""`pastiche experts`, `experts add` and `experts remove`."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bot.exit_codes import faults, logged
from bot.messages.grammar import RESERVED
from bot.terminal_client.live_answer import say
from engine.errors import CommandError
from engine.installation.install import NewExpert, add_expert, added_folder, remarks, remove_expert
from engine.lock import take_lock
from engine.plan.cards import Registry, load_card, load_registry
from engine.settings import Settings, read_settings
from engine.weights import bases

SPEC = typer.Argument(
    metavar="PATH_OR_HUB_ID", help="The adapter's folder; for pictures also a file."
)
NAME = typer.Option(help="Its name here; default: the last part of the path.")
COMMAND = typer.Option(help="The command that it answers; default: story, or jewel for pictures.")
PROMPT = typer.Option(help="For pictures: the prompt, with {request} where the asker's words go.")
TOKEN = typer.Option(help="For pictures: the word in the prompt that the LoRA was trained with.")
KEYWORD = typer.Option("--keyword", help="A word that calls it; repeatable.")

experts_app = typer.Typer(help="Who can answer, and with what.", invoke_without_command=True)


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
            local = not bases.is_hub_id(weights.adapter)
            if weights.adapter and local and not bases.present(weights.adapter, settings.models):
                adapter += "; base model, no adapter yet"
            shown = f"/{expert.command}", escape(_presence(weights.base, settings)), escape(adapter)
            table.add_row(expert.name, expert.medium, *shown)
        console = Console()
        console.print(table)
        for problem in registry.problems:
            say(console, f"set aside: {problem}", style="yellow")


def _presence(spec: str, settings: Settings) -> str:
    here = "present" if bases.present(spec, settings.models) else "missing"
    if bases.is_hub_id(spec) and here == "missing":
        here = "on the hub"
    name = spec if bases.is_hub_id(spec) or spec in bases.EMBEDDED else Path(spec).name
    return f"{name} ({here})"


@experts_app.command("add")
def experts_add(
    spec: Annotated[str, SPEC],
    licence: Annotated[str, typer.Option(help="The licence of these weights.")],
    name: Annotated[str, NAME] = "",
    title: Annotated[str, typer.Option(help="Its name for people; default: the name.")] = "",
    command: Annotated[str, COMMAND] = "",
    base: Annotated[str, typer.Option(help="Its base, if the adapter does not say.")] = "",
    vae: Annotated[str, typer.Option(help="For pictures: a VAE in the base's place.")] = "",
    prompt: Annotated[str, PROMPT] = "",
    token: Annotated[str, TOKEN] = "",
    about: Annotated[str, typer.Option(help="One sentence for people.")] = "",
    keywords: Annotated[list[str] | None, KEYWORD] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in another's place.")] = False,
) -> None:
    """Check an adapter, record its digest, and write a card for it into the data folder."""
    given = locals()
    with logged("pastiche") as settings:
        if command in RESERVED:
            what = f"/{command} is the chat's own command. Name another with --command."
            raise CommandError(what)
        path = Path(spec) if bases.is_hub_id(spec) else Path(spec).expanduser().resolve()
        stem = path.stem if path.suffix == ".safetensors" else path.name
        chosen = name or stem.lower().replace(" ", "-").replace(".", "-")
        known = {"name": chosen, "title": title or chosen, "keywords": tuple(keywords or ())}
        card = add_expert(NewExpert(**given | known), settings)
        sys.stdout.write(f"{chosen} is added: {card}\n")
        added = load_card(card.parent)
        for remark in remarks(added, load_registry(settings.expert_roots, settings.profile)):
            sys.stdout.write(f"{remark}\n")
        ask = "..." if added.command == "story" else f"/{added.command} ..."
        sys.stdout.write(f"Try: pastiche ask '{ask}' --style {chosen}\n")
        once = f"once restarted, if it had another {chosen} or has no /{added.command}"
        _say_if_running(settings, f"it knows {chosen} from its next message on ({once})")


@experts_app.command("remove")
def experts_remove(
    name: Annotated[str, typer.Argument(help="The expert's name, as `pastiche experts` lists it.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Take an added expert away: its card and its copy of the adapter. Answers of it stay on record."""
    with logged("pastiche") as settings:
        folder = added_folder(name, settings)
        if not yes:
            typer.confirm(f"Delete {folder} with all that is in it?", abort=True)
        remove_expert(folder)
        sys.stdout.write(f"{name} is removed.\n")
        if Registry.load(settings.expert_roots, settings.profile).named(name):
            sys.stdout.write(f"The built-in {name} answers again.\n")
        _say_if_running(settings, f"it knows {name} until it is restarted")


def _say_if_running(settings: Settings, what: str) -> None:
    lock = take_lock(settings.home, settings.socket)
    if lock is None:
        sys.stdout.write(f"A bot is running on this data folder; {what}.\n")
    else:
        lock.close()

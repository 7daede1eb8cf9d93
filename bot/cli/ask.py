"""`pastiche ask`: one request, its answer on stdout, what is about it on stderr."""

import json
import sys
from collections.abc import Awaitable
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import TypeAdapter
from rich.console import Console

from bot.cli.programs import prepare_bases
from bot.exit_codes import STOPPED, logged
from bot.locales import words
from bot.messages.draft import Draft, fold
from bot.messages.grammar import OF_STORIES, Again, Command, Compare, Continue, Generate, parse
from bot.messages.normalise import MAX_TEXT, too_long
from bot.messages.options import NAMES, Options, checked
from bot.messages.wording import AI_LINE
from bot.service.dispatch_table import Response
from bot.service.request import Reply
from engine import shutdown
from engine.characters import well_formed
from engine.errors import CommandError
from engine.events import Cancelled, Event, Finished, is_final
from engine.ledger.storage import on_server
from engine.plan.cards import load_registry
from engine.plan.treatment import ARM

if TYPE_CHECKING:
    from bot.terminal_client.session import TerminalSession

LONGEST = 4 * MAX_TEXT  # bytes; a character has four at most
NEEDS_CHAT = ("forget", "guess", "consent", "withdraw", "compare", "rate")

ask_app = typer.Typer()


@ask_app.command("ask")
def ask_command(
    text: Annotated[str, typer.Argument(help="What you would type in the chat; - reads stdin.")],
    style: Annotated[str | None, typer.Option(help="Who answers, whatever the text says.")] = None,
    length: Annotated[int | None, typer.Option(help="About how many tokens.")] = None,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answer, if made alone.")] = None,
    size: Annotated[str | None, typer.Option(help="Of pictures, in pixels: N or WxH.")] = None,
    count: Annotated[int | None, typer.Option(help="How many pictures, 1 to 4.")] = None,
    negative: Annotated[str | None, typer.Option(help="What pictures should not show.")] = None,
    scale: Annotated[float | None, typer.Option(help="The style's strength in pictures.")] = None,
    private: Annotated[bool, typer.Option("--private", help="Keep nothing once answered.")] = False,
    out: Annotated[Path | None, typer.Option(help="Save files in this folder.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One event a line.")] = False,
) -> None:
    """Ask one thing; the answer streams to stdout, pictures are saved and their paths printed.

    Options may also stand within the text, as in the chat. With --json each event is a line: the whole
    text so far, who writes and why; with --out a picture is its path, else its bytes in base64.

    Exit code 0; 2 when the request can be mended; 1 when the fault is ours.
    """
    given = locals()
    with logged("pastiche") as settings:
        typed = _stdin() if text == "-" else text
        options = _options(typed, given)
        registry = load_registry(settings.expert_roots, settings.profile)
        command = _with(parse(typed, registry.commands), options)
        asked = command.command if isinstance(command, Generate) else ""
        alone = not on_server(settings)  # others may serve there
        warm = tuple({expert.medium for expert in registry.of_command(asked) if alone})
        prepare_bases(settings, Console(stderr=True))

        async def run() -> int:
            from bot.terminal_client.session import open_terminal

            folder = out and _made(out.expanduser())
            async with open_terminal(settings, warm=warm, out=folder) as there:
                return await ask(command, typed, there, as_json=as_json)

        raise typer.Exit(shutdown.run(run()))


def _options(typed: str, given: dict[str, Any]) -> Options:
    """Read the options that stand outside of the text. Raises CommandError, for the text's bytes too."""
    said = {n: str(given[n]) for n in NAMES if given[n] is not None}
    said |= {"private": "yes"} if given["private"] else {}
    if any(well_formed(word) != word for word in (typed, *said.values())):
        raise CommandError(words("terminal.not_utf8"))
    return checked(said)


def _made(folder: Path) -> Path:
    """Make the folder before anything is drawn for it. Raises CommandError."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        why = words("terminal.no_folder", folder=folder, why=error.strerror)
        raise CommandError(why) from error
    return folder


def _stdin() -> str:
    """Read standard input; refuse it as soon as there is more than a request may have."""
    if sys.stdin is None:
        return ""
    raw = sys.stdin.buffer.read(LONGEST + 1)
    if len(raw) > LONGEST:
        raise too_long()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise CommandError(words("terminal.not_utf8")) from None


def _with(command: Command, options: Options) -> Command:
    """Put the command line's options before the text's own. Raises CommandError where none belongs."""
    name = "compare" if isinstance(command, Compare) else getattr(command, "name", "")
    if name in NEEDS_CHAT:
        raise CommandError(words("terminal.needs_chat", name=name))
    if options == Options():
        return command
    if not isinstance(command, Generate | Again | Continue):
        raise CommandError(words("terminal.no_options", name=name))
    default = asdict(Options())
    given = {name: value for name, value in asdict(options).items() if value != default[name]}
    return replace(command, options=replace(command.options, **given))


async def ask(command: Command, typed: str, there: "TerminalSession", *, as_json: bool) -> int:
    """Ask, and give the exit code. Raises CommandError for an answer that asks something back."""
    from bot.terminal_client.client import Screen, answer, code_of

    asking = there.say(command, replace(there.who, typed=typed))
    if as_json:
        draft, said = await _print_events(asking, there)
    else:
        console = Console()
        notes = console if console.is_terminal else Console(stderr=True)
        draft, said = await answer(asking, there, Screen(console=console, notes=notes))
    offering = getattr(command, "name", "") in ("stories", *OF_STORIES)  # more, and asking nothing
    if said is not None and said.choices and not offering:
        raise CommandError(words("terminal.ask_back"))
    return STOPPED if isinstance(draft.final, Cancelled) else code_of(draft, said)


async def _print_events(
    asking: Awaitable[Response], there: "TerminalSession"
) -> tuple[Draft, Reply | None]:
    """Print one event a line, as JSON; an answer's with what it is, who made it, and why."""
    from bot.terminal_client.keyboard import stoppable

    draft, facts = Draft(), dict[str, Any]()
    written: TypeAdapter[Event] = TypeAdapter(Event)
    async with stoppable(there.cancel) as running, AsyncExitStack() as stack:
        reply = await asking
        if isinstance(reply, Reply):
            return draft, await _print_said(reply, there)
        async for event in await stack.enter_async_context(aclosing(reply)):
            if isinstance(event, Reply):
                return draft, await _print_said(event, there)
            line = written.dump_python(event, mode="json")
            facts = facts or await _facts(there, event.job)
            draft = fold(draft, event)
            running.job = event.job
            if isinstance(event, Finished) and there.out is not None:
                line["pictures"] = [
                    await _saved(there, event, number) for number in range(len(event.pictures))
                ]
            _print(line | facts)
            if is_final(event):
                await there.service.deliveries.delivered(event.job)
    return draft, None


async def _print_said(said: Reply, there: "TerminalSession") -> Reply:
    files = [str(await there.save(*file)) for file in said.files]
    _print({"kind": said.kind, "text": said.text, "files": files})
    return said


def _print(line: dict[str, Any]) -> None:
    escaped = "utf" not in (sys.stdout.encoding or "").lower()  # "\\U0001f642" would be no JSON
    print(json.dumps(line, ensure_ascii=escaped), flush=True)  # noqa: T201


async def _facts(there: "TerminalSession", job: str) -> dict[str, Any]:
    """Tell that a machine makes it, who, by which rule, on which words; nothing that unblinds."""
    marked = {"mark": AI_LINE}
    told = await there.service.context.engine.answer(job)
    if told is None or told.route.rule.startswith(f"{ARM}:"):
        return marked
    return marked | {
        "expert": told.route.expert,
        "rule": told.route.rule,
        "evidence": [match.words for match in told.route.evidence],
        "seed": told.job.seed,
    }


async def _saved(there: "TerminalSession", final: Finished, number: int) -> dict[str, Any]:
    picture = final.pictures[number]
    path = await there.save(f"{final.job.lower()}-{number + 1}.png", picture.data)
    size = {"width": picture.width, "height": picture.height, "seed": picture.seed}
    return size | {"path": str(path)}

"""The chat in a terminal, and the single question of `pastiche ask`.

Ctrl-C cancels the answer, not the program; a second one, while that is still under way, ends it.
"""

import asyncio
import contextlib
import getpass
import logging
import os
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from pydantic import TypeAdapter
from rich.console import Console

from bot import render
from bot.blocks import blocks, can_show
from bot.cleaning import MAX_TEXT
from bot.conversation import Said, Who, converse
from bot.grammar import Command, parse
from bot.pages import page_for, say
from bot.render import Draft
from bot.terminal_desk import TerminalDesk
from bot.terminal_keys import at_a_terminal, quiet_keyboard, stoppable
from engine import Engine
from engine.errors import KIND_SENTENCE, AskerError, PasticheError, SetupError
from engine.events import Cancelled, Event, Failed, Finished, is_final
from engine.ledger import new_id

PROMPT = "› "
_EVENT: TypeAdapter[Event | Said] = TypeAdapter(Event | Said)
LEAVE = ("/quit", "/exit", "quit", "exit")
WELCOME = (
    "[bold]Pastiche[/bold] writes in a declared manner. /help lists the commands, /quit or Ctrl-D "
    "leaves.\n"
    "[dim]Try: /story in the style of lovecraft: They sat alone in the darkened room as rain "
    "hammered against the old windowpanes.[/dim]"
)

log = logging.getLogger(__name__)


def terminal_asker() -> Who:
    """The person at this terminal, in a new conversation."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        name = str(os.getuid())
    place = os.ttyname(0) if at_a_terminal() else "terminal"
    return Who(platform="terminal", asker=name, place=place, conversation=new_id(), private=True)


async def show_answer(
    events: AsyncGenerator[Event | Said],
    core: Engine | TerminalDesk,
    console: Console,
    heard: list[Said] | None = None,
) -> Draft:
    """Draw the reply as it comes; one in words is added to `heard`, too."""
    draft = Draft()
    async with stoppable(core) as running, aclosing(events):
        with quiet_keyboard(), page_for(console) as page:
            async for event in events:
                if isinstance(event, Said):
                    if heard is not None:
                        heard.append(event)
                    return Draft(stage="finished", text=event.text)
                draft = render.fold(draft, event)
                running.job = draft.job
                page.show(draft)
    return draft


async def answer(
    command: Command,
    who: Who,
    core: Engine,
    console: Console,
    notes: Console,
    pictures: Path,
    desk: TerminalDesk | None = None,
) -> Draft:
    """One command and its reply; what is about the answer, and not of it, goes to `notes`.

    Pictures are saved in the folder `pictures`; where they lie is the answer. With a `desk` the answer
    may belong to an experiment.
    """
    events = desk.say(command, who) if desk is not None else converse(command, who, core)
    heard: list[Said] = []
    draft = await show_answer(events, core, console, heard)
    if desk is not None and heard:
        await _spoken(desk, heard[0], console, pictures)
        return draft
    if draft.final is None:
        say(console, draft.text)
        return draft
    if draft.text and not console.is_terminal:
        console.file.write("\n")
    if isinstance(draft.final, Finished) and draft.final.pictures:
        await _hang(draft.final, console, notes, pictures)
    if isinstance(draft.final, Finished):  # before a private request leaves the record
        await _close(draft.final, core, notes, desk)
    await (core if desk is None else desk).delivered(draft.job)
    match draft.final:
        case Cancelled():
            say(notes, "Stopped. /again starts it anew, /continue goes on from here.", style="dim")
        case Failed(message=message, reason=reason):
            say(notes, message, style="yellow")
            if reason:
                say(notes, f"({reason})", style="dim")
    return draft


async def _hang(final: Finished, console: Console, notes: Console, folder: Path) -> None:
    """Save the pictures, say where, and show each if the terminal can."""
    for number, picture in enumerate(final.pictures, 1):
        name = f"{final.job.lower()}-{number}.png"
        try:
            path = await asyncio.to_thread(_save, folder, name, picture.data)
        except OSError as error:
            say(
                notes, f"The picture cannot be saved in {folder}: {error.strerror}.", style="yellow"
            )
            continue
        if can_show(console):
            console.print(blocks(picture.data))
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)


def _save(folder: Path, name: str, data: bytes) -> Path:
    """The file, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{name}.{os.getpid()}"
    aside.write_bytes(data)
    return aside.replace(folder / name)


async def _close(
    final: Finished, core: Engine, notes: Console, desk: TerminalDesk | None = None
) -> None:
    """The footer below an answer, and what the asker should know about it."""
    if desk is not None:
        say(notes, await desk.footer(final), style="dim")
        return
    told = await core.answer(final.job)
    expert = core.registry.named(told.route.expert) if told else None
    if told is None or expert is None:
        return
    words = render.footer(final, expert, told.route, core.registry.weights(expert))
    for line in (*final.notes, *([expert.label] if expert.label else []), words):
        say(notes, line, style="dim")


async def print_events(events: AsyncGenerator[Event | Said], core: Engine) -> Event | Said | None:
    """One event a line, as JSON; returns the last."""
    last: Event | Said | None = None
    async with stoppable(core) as running, aclosing(events):
        async for last in events:
            print(_EVENT.dump_json(last).decode(), flush=True)  # noqa: T201
            if not isinstance(last, Said):
                running.job = last.job
                if is_final(last):
                    await core.delivered(last.job)
    return last


async def chat(
    core: Engine, console: Console, pictures: Path, desk: TerminalDesk | None = None
) -> int:
    """Until Ctrl-D, or the end of the piped input; 1 if any of that failed on our side."""
    who = terminal_asker()
    failed = False
    if at_a_terminal():
        console.print(WELCOME)
    async for text in _typed() if at_a_terminal() else _piped():
        if not text.strip():
            continue
        if text.strip().lower() in LEAVE:
            break
        try:
            said = replace(who, typed=text.strip())
            if desk is not None and (reply := await desk.pressed(text, said)) is not None:
                await _reply(desk, reply, core, console, pictures)
                continue
            command = parse(text, core.registry.commands)
            if desk is not None and desk.answers(command):
                await _reply(desk, desk.say(command, said), core, console, pictures)
                continue
            through = desk if desk is not None and desk.treats else None
            draft = await answer(command, said, core, console, console, pictures, through)
            failed |= isinstance(draft.final, Failed)
            if desk is not None and isinstance(draft.final, Finished):
                asked = await desk.invitation(said, draft.job)
                await _spoken(desk, asked, console, pictures)
        except AskerError as error:
            say(console, str(error), style="yellow")
        except PasticheError as error:
            log.exception("a request failed")
            failed = True
            words = str(error) if isinstance(error, SetupError) else KIND_SENTENCE
            say(console, words, style="yellow")
    return int(failed)


async def _reply(
    desk: TerminalDesk,
    reply: Said | AsyncGenerator[Event | Said],
    core: Engine,
    console: Console,
    pictures: Path,
) -> None:
    """What the study answers: words with choices, or something that is written first."""
    if isinstance(reply, Said):
        await _spoken(desk, reply, console, pictures)
        return
    heard: list[Said] = []
    draft = await show_answer(reply, desk, console, heard)
    for said in heard:
        await _spoken(desk, said, console, pictures)
    if draft.final is not None:
        if isinstance(draft.final, Finished):
            if draft.final.pictures:
                await _hang(draft.final, console, console, pictures)
            await _close(draft.final, core, console, desk)
        await desk.delivered(draft.job)


async def _spoken(desk: TerminalDesk, said: Said | None, console: Console, pictures: Path) -> None:
    """Words, files, and the choices below them, each with its number."""
    if said is None:
        return
    say(console, said.text)
    files = [(f"{new_id().lower()}.png", picture.data) for picture in said.pictures]
    for name, data in (*files, *said.files):
        path = await asyncio.to_thread(_save, pictures, name, data)
        if name.endswith(".png") and can_show(console):
            console.print(blocks(data))
        console.print(str(path), markup=False, highlight=False, soft_wrap=True)
    for line in desk.offer(said):
        say(console, line, style="bold")
    await desk.arrived(said)


async def _typed() -> AsyncIterator[str]:
    """Lines from the terminal, with editing; a pasted text of many lines comes whole.

    What was typed is remembered for this chat only: a history file would hold it unsealed.
    """
    from prompt_toolkit import PromptSession

    session: PromptSession[str] = PromptSession()
    while True:
        try:
            yield await session.prompt_async(PROMPT)
        except KeyboardInterrupt:
            continue  # clears the line, as shells do
        except EOFError:
            return


async def _piped() -> AsyncIterator[str]:
    """Requests from a pipe: each runs to the next line that starts with a slash.

    The pipe is read in a thread that nobody waits for, so that Ctrl-C ends a chat whose pipe is open.
    """
    loop = asyncio.get_running_loop()
    inbox: asyncio.Queue[str | None] = asyncio.Queue()

    def pump() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has gone
            for line in sys.stdin or ():
                loop.call_soon_threadsafe(inbox.put_nowait, line)
            loop.call_soon_threadsafe(inbox.put_nowait, None)

    threading.Thread(target=pump, daemon=True).start()
    lines: list[str] = []
    size = 0
    while (line := await inbox.get()) is not None:
        if line.startswith("/") and lines:
            yield "".join(lines)
            lines, size = [], 0
        if size <= MAX_TEXT:  # more would be refused anyway
            lines.append(line)
            size += len(line)
    if lines:
        yield "".join(lines)

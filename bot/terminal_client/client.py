"""The chat in a terminal: what is typed, and how each reply is drawn, saved and closed.

Ctrl-C cancels the answer, not the program; a second one, while that is still under way, ends it.
"""

import asyncio
import contextlib
import logging
import re
import sys
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import aclosing
from dataclasses import dataclass, replace

from rich.console import Console

from bot.exit_codes import MENDABLE, OURS
from bot.locales import spoken as translated
from bot.locales import words
from bot.messages.draft import Draft, fold
from bot.messages.grammar import RESERVED
from bot.messages.normalise import MAX_TEXT
from bot.messages.options import NAMES
from bot.service.dispatch_table import Events, Response
from bot.service.request import Reply
from bot.terminal_client.keyboard import Running, at_a_terminal, quiet_keyboard, stoppable
from bot.terminal_client.live_answer import page_for, say
from bot.terminal_client.session import ELSEWHERE, TerminalSession
from engine.errors import KIND_SENTENCE, AskerError, PasticheError, SetupError
from engine.events import Cancelled, Failed, Finished
from engine.ledger.ledger import new_id

PROMPT = "› "
LEAVE = ("/quit", "/exit", "quit", "exit")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Screen:
    """Hold where answers are drawn; what is about an answer, and not of it, goes to `notes`."""

    console: Console
    notes: Console


async def answer(
    asking: Awaitable[Response], there: TerminalSession, screen: Screen
) -> tuple[Draft, Reply | None]:
    """Draw a reply as it comes, to its end; gives back what it said in words, too."""
    async with stoppable(there.cancel) as running:
        reply = await asking
        if not isinstance(reply, Reply):
            draft, said = await _follow(reply, running, screen.console, there.who.locale)
    if isinstance(reply, Reply):
        await spoken(there, reply, screen.console)
        return Draft(), reply
    if draft.text and not screen.console.is_terminal:
        screen.console.file.write("\n")
    if said is not None:
        await spoken(there, said, screen.notes if _instead(draft, said) else screen.console)
    elif draft.final is not None:
        await _close(draft.final, there, screen)
    return draft, said


async def _follow(
    events: Events, running: Running, console: Console, locale: str
) -> tuple[Draft, Reply | None]:
    draft = Draft()
    async with aclosing(events):
        with quiet_keyboard(), page_for(console, locale) as page:
            async for event in events:
                if isinstance(event, Reply):
                    return draft, event
                draft = fold(draft, event)
                running.job = draft.job
                page.show(draft)
    return draft, None


async def _close(
    final: Finished | Failed | Cancelled, there: TerminalSession, screen: Screen
) -> None:
    """Show pictures and footer before a private request leaves the record; then note its arrival."""
    if isinstance(final, Finished):
        for number, picture in enumerate(final.pictures, 1):
            await save(there, screen, f"{final.job.lower()}-{number}.png", picture.data)
    if isinstance(final, Finished) or (isinstance(final, Cancelled) and final.text):
        say(screen.notes, await there.service.footer(final, there.who.locale), style="dim")
    await there.service.deliveries.delivered(final.job)
    match final:
        case Cancelled():
            say(screen.notes, words("terminal.stopped", there.who.locale), style="dim")
        case Failed(message=message, reason=reason):
            say(screen.notes, translated(message, there.who.locale), style="yellow")
            if reason:
                say(screen.notes, f"({reason})", style="dim")


async def save(there: TerminalSession, screen: Screen, name: str, data: bytes) -> None:
    """Save a file, and say where."""
    try:
        path = await there.save(name, data)
    except SetupError as error:
        say(screen.notes, str(error))
        return
    screen.console.print(str(path), markup=False, highlight=False, soft_wrap=True)


async def spoken(
    there: TerminalSession, said: Reply, console: Console, *, asking: bool = True
) -> None:
    """Show words, files, and the choices below them, each with its number."""
    say(console, said.text)
    screen = Screen(console=console, notes=console)
    pictures = [(f"{new_id().lower()}.png", picture.data) for picture in said.pictures]
    for name, data in (*pictures, *said.files):
        await save(there, screen, name, data)
    for line in there.offer(said, asking=asking):
        say(console, line, style="bold")
    await there.service.arrived(said.receipt)


async def chat(there: TerminalSession, console: Console) -> int:
    """Chat until Ctrl-D: 0; or a pipe's end: 1 if anything failed on our side, 2 if it can be mended."""
    screen = Screen(console=console, notes=console)
    if at_a_terminal():
        console.print(words("terminal.welcome", there.who.locale))
    codes = {0}
    async for text in _typed(there) if at_a_terminal() else _piped():
        if text.strip().lower() in LEAVE:
            break
        if text.strip():
            codes.add(await _one(text, there, screen))
    if OURS in codes:
        return OURS
    return 0 if at_a_terminal() else max(codes)


async def _one(text: str, there: TerminalSession, screen: Screen) -> int:
    """Reply to one line of a chat; gives the exit code that it would have by itself."""
    who = replace(there.who, typed=text.strip())
    try:
        draft, said = await answer(there.response(text, who), there, screen)
        whole = isinstance(draft.final, Finished)
        if whole and (invited := await there.service.invitation(who, draft.job)):
            await spoken(there, invited, screen.console, asking=False)
        return code_of(draft, said)
    except AskerError as error:
        say(screen.console, translated(str(error), who.locale), style="yellow")
        return MENDABLE
    except PasticheError as error:
        log.exception("a request failed")
        told = str(error) if isinstance(error, SetupError) else KIND_SENTENCE
        say(screen.console, translated(told, who.locale), style="yellow")
        return OURS


def code_of(draft: Draft, said: Reply | None) -> int:
    """Give a reply's exit code: words in an answer's place say what can be asked instead."""
    if isinstance(draft.final, Failed):
        return OURS
    return MENDABLE if said is not None and _instead(draft, said) else 0


def _instead(draft: Draft, said: Reply) -> bool:
    """Say whether these words stand where an answer was to be."""
    return bool(draft.job) and not said.choices


async def _typed(there: TerminalSession) -> AsyncIterator[str]:
    """Read lines from the terminal. They are remembered for this chat only: a file would be unsealed."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter

    registry = there.service.context.registry
    commands = [name for name in (*registry.commands, *RESERVED) if name not in ELSEWHERE]
    known = [f"/{name}" for name in commands] + [f"--{name}" for name in (*NAMES, "private")]
    known += [expert.name for expert in registry.experts]
    completer = WordCompleter(known, pattern=re.compile(r"[/\w-]+"))
    session: PromptSession[str] = PromptSession(completer=completer, complete_while_typing=False)
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

"""The chat in a terminal, and the single question of `pastiche ask`.

A terminal gets a live last line with a spinner below finished lines that stay; a pipe gets plain
text as it grows. Ctrl-C cancels the answer, not the program.
"""

import asyncio
import getpass
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text as Line

from bot import render
from bot.conversation import Said, Who, converse
from bot.grammar import Command, parse
from bot.render import Draft
from engine import Engine
from engine.errors import AskerError, OurError, SetupError
from engine.events import Cancelled, Event, Failed, Finished
from engine.ledger import new_id

PROMPT = "› "
REFRESH = 12  # a second
PLACE = "terminal"


def terminal_asker() -> Who:
    """The person at this terminal, in a new conversation."""
    return Who(platform="terminal", asker=getpass.getuser(), place=PLACE, conversation=new_id())


class Page(Protocol):
    """Where an answer grows. Real ones: LivePage, PlainPage."""

    def show(self, draft: Draft) -> None:
        """The draft as it is now; its text only ever grows, but for a rerun."""


class PlainPage:
    """Text to a stream as it grows."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._shown = ""

    def show(self, draft: Draft) -> None:
        """A rerun says the same words again (same seed): only what is new is written."""
        if draft.text.startswith(self._shown):
            self._write(draft.text[len(self._shown) :])
            self._shown = draft.text
        elif draft.final is not None and not self._shown.startswith(draft.text):
            self._write(f"\n\n{draft.text}")
            self._shown = draft.text


class LivePage:
    """Finished lines stay; the last one and a spinner live below them."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live
        self._printed: list[str] = []

    def show(self, draft: Draft) -> None:
        """Print the lines that are complete, redraw the last."""
        lines = [
            line.plain
            for paragraph in draft.text.split("\n")
            for line in Line(paragraph).wrap(self._console, self._console.width)
        ]
        final = draft.final is not None
        done = lines if final else lines[:-1]
        if len(done) >= len(self._printed) and done[: len(self._printed)] != self._printed:
            self._live.console.print("[dim](once more, from the start)[/dim]")
            self._printed = []
        for line in done[len(self._printed) :]:
            self._live.console.print(Line(line), soft_wrap=True)
            self._printed.append(line)
        last = Line(lines[-1]) if lines and len(lines) > len(self._printed) else Line("")
        if final:
            self._live.update(Line(""))
            return
        words = render.progress(draft)
        if draft.tokens:
            words = f"{words}, {draft.tokens} tokens"
        spinner = Spinner("dots", Line(f"{words}   Ctrl-C stops it", style="dim"))
        self._live.update(Group(last, spinner) if last.plain else spinner)


@contextmanager
def page_for(console: Console) -> Iterator[Page]:
    """A live page on a terminal, a plain one elsewhere."""
    if not console.is_terminal:
        yield PlainPage(lambda text: (console.file.write(text), console.file.flush()))
        return
    with Live(console=console, refresh_per_second=REFRESH, transient=True) as live:
        yield LivePage(console, live)


@dataclass(slots=True)
class Running:
    """The job that Ctrl-C would stop."""

    job: str = ""


@asynccontextmanager
async def stoppable(engine: Engine) -> AsyncIterator[Running]:
    """Within, Ctrl-C cancels the running job and nothing else."""
    running = Running()
    stopping: set[asyncio.Task[bool]] = set()

    def stop() -> None:
        if running.job:
            stopping.add(asyncio.create_task(engine.cancel(running.job)))

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield running
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        await asyncio.gather(*stopping, return_exceptions=True)


async def show_answer(
    events: AsyncIterator[Event | Said], engine: Engine, console: Console
) -> Draft:
    """Draw the reply as it comes."""
    draft = Draft()
    async with stoppable(engine) as running:
        with page_for(console) as page:
            async for event in events:
                if isinstance(event, Said):
                    draft = Draft(stage="finished", text=event.text)
                else:
                    draft = render.fold(draft, event)
                    running.job = draft.job
                    page.show(draft)
    return draft


async def answer(
    command: Command, who: Who, engine: Engine, console: Console, notes: Console
) -> Draft:
    """One command and its reply; what is about the answer, and not of it, goes to `notes`."""
    draft = await show_answer(converse(command, who, engine), engine, console)
    match draft.final:
        case None:
            _say(console, draft.text)
        case Finished() as final:
            if not console.is_terminal:
                console.file.write("\n")
            await engine.delivered(draft.job)
            await _close(final, who, engine, notes)
        case Cancelled():
            notes.print("\n[dim]Stopped. /again starts it anew, /continue goes on from here.[/dim]")
            await engine.delivered(draft.job)
        case Failed(message=message, reason=reason):
            _say(notes, f"\n{message}")
            if reason:
                _say(notes, f"({reason})", style="dim")
    return draft


async def _close(final: Finished, who: Who, engine: Engine, notes: Console) -> None:
    """The footer below an answer, and what the asker should know about it."""
    last = await engine.last(who.platform, who.asker, who.place)
    if last is None or last.job.id != final.job:
        return
    expert = engine.registry.named(last.route.expert)
    if expert is None:
        return
    words = render.footer(final, expert, last.route, engine.registry.weights(expert))
    for line in (*final.notes, *([expert.label] if expert.label else []), words):
        _say(notes, line, style="dim")


def _say(console: Console, text: str, style: str = "") -> None:
    """Plain words: wrapped for a terminal, whole lines for a pipe."""
    wrap = not console.is_terminal
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=wrap)


async def chat(engine: Engine, console: Console, history: Path) -> int:
    """Until Ctrl-D, or the end of the piped input; 1 if any of that failed on our side."""
    who = terminal_asker()
    failed = False
    if sys.stdin.isatty():
        console.print(
            "[bold]Pastiche[/bold] writes in a declared manner. /help lists the commands, "
            "Ctrl-D leaves.\n[dim]Try: /story in the style of lovecraft: They sat alone in the "
            "darkened room as rain hammered against the old windowpanes.[/dim]"
        )
    async for text in _typed(history) if sys.stdin.isatty() else _piped():
        if not text.strip():
            continue
        try:
            command = parse(text, engine.registry.commands)
            draft = await answer(command, who, engine, console, console)
            failed |= isinstance(draft.final, Failed)
        except (AskerError, SetupError) as error:
            _say(console, str(error), style="yellow")
            failed |= isinstance(error, OurError)
    return int(failed)


async def _typed(history: Path) -> AsyncIterator[str]:
    """Lines from the terminal, with editing and history; a pasted text of many lines comes whole."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import FileHistory

    history.touch(mode=0o600)
    session: PromptSession[str] = PromptSession(history=FileHistory(str(history)))
    while True:
        try:
            yield await session.prompt_async(PROMPT)
        except KeyboardInterrupt:
            continue  # clears the line, as shells do
        except EOFError:
            return


async def _piped() -> AsyncIterator[str]:
    """Requests from a pipe: each runs to the next line that starts with a slash."""
    request = ""
    while line := await asyncio.to_thread(sys.stdin.readline):
        if line.startswith("/") and request:
            yield request
            request = ""
        request += line
    if request:
        yield request

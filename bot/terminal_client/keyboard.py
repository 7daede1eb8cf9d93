"""The keyboard of a terminal while an answer grows: Ctrl-C stops it, and typing ahead is not drawn."""

import asyncio
import contextlib
import os
import signal
import sys
import termios
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from engine.shutdown import end

MAX_LINE = 4096  # bytes; longer ones no terminal gives


def at_a_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


@dataclass(slots=True)
class Running:
    job: str = ""
    stopping: bool = False


@asynccontextmanager
async def stoppable(
    cancel: Callable[[str], Coroutine[Any, Any, bool]], ahead: list[str] | None = None
) -> AsyncIterator[Running]:
    """Let Ctrl-C call `cancel` with the running job; a second Ctrl-C gives up waiting for that.

    So does /cancel on a line of its own; other lines that are typed meanwhile are put into `ahead`.
    """
    running = Running()
    tasks: set[asyncio.Task[bool]] = set()
    here = asyncio.current_task()

    def stop() -> None:
        if here is not None and (running.stopping or not running.job):
            here.cancel()
            return
        running.stopping = True
        tasks.add(asyncio.create_task(cancel(running.job)))

    def hear(lines: list[str]) -> None:
        line = os.read(0, MAX_LINE).decode(errors="replace")
        if line.strip() == "/cancel":
            stop()
        else:
            lines.append(line or "/quit")

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop)
    if ahead is not None and at_a_terminal():
        loop.add_reader(0, hear, ahead)
    try:
        yield running
    finally:
        loop.remove_signal_handler(signal.SIGINT)
        loop.remove_reader(0)
        await end(*tasks)


@contextlib.contextmanager
def quiet_keyboard() -> Iterator[None]:
    """Keep what is typed ahead for the prompt, and do not draw it into a growing answer."""
    if not at_a_terminal():
        yield
        return
    before = termios.tcgetattr(0)
    quiet = [*before[:3], before[3] & ~termios.ECHO, *before[4:]]
    termios.tcsetattr(0, termios.TCSADRAIN, quiet)
    try:
        yield
    finally:
        termios.tcsetattr(0, termios.TCSADRAIN, before)

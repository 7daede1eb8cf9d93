"""The keyboard of a terminal while an answer grows: Ctrl-C stops it, and typing ahead is not drawn."""

import asyncio
import contextlib
import signal
import sys
import termios
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from engine.shutdown import end


def at_a_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


@dataclass(slots=True)
class Running:
    job: str = ""
    stopping: bool = False


@asynccontextmanager
async def stoppable(cancel: Callable[[str], Coroutine[Any, Any, bool]]) -> AsyncIterator[Running]:
    """Let Ctrl-C call `cancel` with the running job; a second Ctrl-C gives up waiting for that."""
    running = Running()
    tasks: set[asyncio.Task[bool]] = set()
    here = asyncio.current_task()

    def stop() -> None:
        if here is not None and (running.stopping or not running.job):
            here.cancel()
            return
        running.stopping = True
        tasks.add(asyncio.create_task(cancel(running.job)))

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop)
    try:
        yield running
    finally:
        loop.remove_signal_handler(signal.SIGINT)
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

"""Watch an event loop from another thread: say where it stands still, and for how long.

A loop that is held by Python code is told in the log, with a stack. One that is held by C code which
keeps the interpreter's lock (a pattern that backtracks) lets no thread run: the log tells of it
afterwards. faulthandler could dump its stack without the lock, but walking the frames of a thread that
runs has crashed the process. A stack names files and lines, and nothing that anybody wrote.
"""

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

STALL_SECONDS = 2.0
TURNS = 5  # looks within that time
FRAMES = 12  # of a stack, the innermost

log = logging.getLogger(__name__)


class Watchdog:
    def __init__(self, seconds: float = STALL_SECONDS) -> None:
        self._seconds = seconds
        self._every = seconds / TURNS
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._turned, self._worked = time.monotonic(), time.process_time()
        self._told = 0.0  # the turn after which a standstill was told
        self._next: asyncio.TimerHandle | None = None
        self._closed = threading.Event()
        self._beat()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    @property
    def stalled(self) -> float:
        """Give the seconds that the loop has stood still, once they are too many; else 0."""
        still = time.monotonic() - self._turned
        return still if still >= self._seconds and not self._closed.is_set() else 0.0

    def close(self) -> None:
        self._closed.set()
        if self._next:
            self._next.cancel()
        self._thread.join(self._seconds)

    def _beat(self) -> None:
        now, cpu = time.monotonic(), time.process_time()
        stood_still = now - self._turned >= self._seconds
        # A process that was stopped, as a whole, did nothing meanwhile and told nothing
        if stood_still and (self._told == self._turned or cpu - self._worked >= self._every):
            stood = {"seconds": round(now - self._turned, 1), "cpu": round(cpu - self._worked, 1)}
            log.warning("the event loop turns again", extra=stood)
        self._turned, self._worked = now, cpu
        self._next = self._loop.call_later(self._every, self._beat)

    def _watch(self) -> None:
        looked = time.monotonic()
        while not self._closed.wait(self._every):
            now, before, looked = time.monotonic(), looked, time.monotonic()
            if now - before > self._seconds and time.process_time() - self._worked < self._every:
                continue  # the whole process was stopped, or the machine slept
            if self.stalled and self._told != self._turned:
                self._told = self._turned
                log.error("the event loop stands still", extra={"stack": self._stack()})

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._watched)
        frames = traceback.extract_stack(frame)[-FRAMES:] if frame else []
        return "\n".join(f"{one.filename}:{one.lineno} {one.name}" for one in frames)


@asynccontextmanager
async def watching(seconds: float = STALL_SECONDS) -> AsyncIterator[Watchdog]:
    watchdog = Watchdog(seconds)
    try:
        yield watchdog
    finally:
        watchdog.close()

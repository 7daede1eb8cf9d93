"""Writes to the ledger in the order of what happened, insisted on until they are done."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from engine.errors import LedgerError

RETRY_SECONDS = 1.0  # between tries at a ledger that refuses
CLOSE_SECONDS = 10.0  # what it has not taken by then, the next owner does again

log = logging.getLogger(__name__)

Write = Callable[[], Awaitable[object]]


class OrderedWriter:
    """One write at a time. A ledger that refuses is asked again; without the write the job would
    come twice."""

    def __init__(self) -> None:
        self._writes: asyncio.Queue[tuple[Write, str] | None] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="ledger writer")

    def put(self, write: Write, job: str) -> None:
        """Do it after all that was put before."""
        self._writes.put_nowait((write, job))

    async def _run(self) -> None:
        while (item := await self._writes.get()) is not None:
            write, job = item
            while True:
                try:
                    await write()
                    break
                except LedgerError:
                    log.exception("the ledger refuses; asking again", extra={"job": job})
                    await asyncio.sleep(RETRY_SECONDS)
                except Exception:
                    log.exception("a write failed", extra={"job": job})
                    break

    async def close(self) -> None:
        """Finish what was put."""
        if self._task is None:
            return
        self._writes.put_nowait(None)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._task, CLOSE_SECONDS)

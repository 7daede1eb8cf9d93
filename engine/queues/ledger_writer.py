"""Writes to the ledger in the order of what happened to a job, insisted on until they are done."""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable

from engine.errors import LedgerError
from engine.shutdown import end, spawn

RETRY_SECONDS = 1.0  # between tries at a ledger that refuses
CLOSE_SECONDS = 1.5  # what it has not taken by then, the next owner does again

log = logging.getLogger(__name__)

Write = Callable[[], Awaitable[object]]


class OrderedWriter:
    """For each job one write at a time. A ledger that refuses is asked again; without the write the
    job would come twice. A picture that its store does not take keeps only its own job waiting."""

    def __init__(self) -> None:
        self._lanes: defaultdict[str, deque[Write]] = defaultdict(deque)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def put(self, write: Write, job: str) -> None:
        """Do it after all that was put before for this job."""
        begun = job in self._lanes
        self._lanes[job].append(write)
        if not begun:
            spawn(self._tasks, self._run(job), "ledger writer")

    async def _run(self, job: str) -> None:
        lane = self._lanes[job]
        while lane:
            try:
                await lane[0]()
            except LedgerError as error:
                extra = {"job": job, "why": str(error)}
                if self._closing:
                    log.warning("the next start does again what was not written", extra=extra)
                    return
                log.warning("the ledger refuses; asking again", extra=extra)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            except Exception:
                log.exception("a write failed", extra={"job": job})
            lane.popleft()
        del self._lanes[job]

    async def close(self) -> None:
        self._closing = True
        await end(*self._tasks, grace=CLOSE_SECONDS)

"""The queue of one owner: an in-memory order over the SQLite ledger, and workers on a socket.

The ledger is the truth. A job is in it before it is in here, and whatever has no final state when
an owner starts is taken up again. Being the only owner, this queue needs no leases: a worker that
died is a connection that closed (queues.dispatcher counts the deaths).
"""

import asyncio
import socket
import time
from collections.abc import AsyncGenerator

from engine.errors import KIND_SENTENCE, BusyError, OwnerGoneError
from engine.events import Event, Failed, Loading, is_final
from engine.ledger.ledger import Ledger
from engine.overview import TAKEN_OUT, Overview, WorkerSeen
from engine.plan.job import Job, Request, Status
from engine.plan.route import Route
from engine.queues.dispatcher import LOADING, Dispatcher
from engine.queues.fair_queue import QueuedJob
from engine.queues.inbox import Inbox
from engine.queues.job_admin import JobAdmin
from engine.queues.ledger_writer import CLOSE_SECONDS
from engine.shutdown import end, spawn


class EmbeddedQueue:
    def __init__(
        self, ledger: Ledger, *, max_waiting: int, dispatcher: Dispatcher | None = None
    ) -> None:
        self._ledger = ledger
        self._max_waiting = max_waiting
        self.dispatcher = dispatcher or Dispatcher(ledger)
        self._admin = JobAdmin(ledger)
        self._accepting: set[asyncio.Task[None]] = set()

    async def start(self, only: str = "") -> int:
        """Take up every job that an earlier owner left unfinished, or one; returns how many."""
        jobs = await self._ledger.unfinished(only)
        for left in jobs:
            self.dispatcher.add(QueuedJob(**left._asdict()))
        return len(jobs)

    async def accept(self, request: Request, route: Route, job: Job) -> None:
        """Commit and queue, even if the caller is cancelled. Raises BusyError or LedgerError."""
        if self.dispatcher.closing:
            raise OwnerGoneError
        waiting = len(self.dispatcher.entries)
        if waiting + len(self._accepting) >= self._max_waiting:
            raise BusyError(
                f"{waiting} requests are waiting already. Please try again in a few minutes."
            )
        await asyncio.shield(spawn(self._accepting, self._accept(request, route, job)))

    async def _accept(self, request: Request, route: Route, job: Job) -> None:
        if await self._ledger.accept(request, route, job):
            asker = self._ledger.person(request.platform, request.asker)
            self.dispatcher.add(QueuedJob(job=job, accepted_at=time.time(), asker=asker))

    async def follow(self, job: str) -> AsyncGenerator[Event]:
        entry = self.dispatcher.entries.get(job)
        if entry is None:
            gone = Failed(job=job, attempt=1, message=KIND_SENTENCE, reason="its row was deleted")
            yield await self._ledger.final(job) or gone
            return
        inbox = Inbox()
        entry.followers.add(inbox)
        try:
            for event in self._so_far(entry):
                yield event
            async for event in inbox:
                yield event
        finally:
            entry.followers.discard(inbox)

    def _so_far(self, entry: QueuedJob) -> list[Event]:
        """Tell a newcomer the job's position, then that a worker is loading, or the text so far."""
        job = entry.job
        events: list[Event] = [self.dispatcher.queued(entry)]
        if entry.worker is None and not self.dispatcher.slots(job.medium):
            events.append(Loading(job=job.id, attempt=job.attempt, what=LOADING))
        elif entry.last is not None and not is_final(entry.last):
            events.append(entry.last)
        return events

    async def cancel(self, job: str) -> bool:
        return self.dispatcher.cancel(job)

    async def status(self) -> Status:
        return await self._admin.status(self._workers())

    async def overview(self) -> Overview:
        return await self._admin.overview("embedded", self._workers())

    def _workers(self) -> tuple[WorkerSeen, ...]:
        return tuple(
            WorkerSeen(
                name=f"{worker.medium}-{worker.pid}",
                medium=worker.medium,
                host=socket.gethostname(),
                pid=worker.pid,
                state="draining" if worker.leaving else "ready" if worker.slots else "starting",
                slots=worker.slots,
                running=len(worker.running),
            )
            for worker in self.dispatcher.workers
        )

    async def retry(self, job: str) -> bool:
        if job in self.dispatcher.entries or not await self._admin.revive(job):
            return False
        return bool(await self.start(job))

    async def drop(self, job: str) -> bool:
        return self.dispatcher.drop(job, TAKEN_OUT) or await self._admin.bury(job)

    def drain(self) -> None:
        """Accept, hand out and hand back nothing from now on."""
        self.dispatcher.closing = True

    async def close(self) -> None:
        self.drain()
        await end(*self._accepting, grace=CLOSE_SECONDS)
        await self.dispatcher.writer.close()

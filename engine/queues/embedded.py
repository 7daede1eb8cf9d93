"""The queue of one owner: an in-memory order over the SQLite ledger, and workers on a socket.

The ledger is the truth. A job is in it before it is in here, and whatever has no final state when
an owner starts is taken up again. Being the only owner, this queue needs no leases: a worker that
died is a connection that closed.

Jobs that ran when their worker died run again one at a time, alone, before anything else. A job
whose worker dies DEATHS_ALONE times while nothing else ran there has shown that it is the cause, and
is given up. (More than once, because a worker may also be killed from outside.) The owner's own
death and a worker's orderly leave count for nothing.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

from engine.errors import APOLOGY, KIND_SENTENCE, BusyError, LedgerError
from engine.events import (
    Cancelled,
    Event,
    Failed,
    Final,
    Finished,
    Loading,
    Queued,
    Started,
    Text,
    is_final,
)
from engine.jobs import Job, Request, Status, Waiting
from engine.ledger import Ledger
from engine.routing import Route
from engine.wire import Hello, Link, Ready, Run, Stop, Unfit

DEATHS_ALONE = 3
RETRY_SECONDS = 1.0  # between tries to write a final state to a ledger that refuses
CLOSE_SECONDS = 10.0  # what a refusing ledger has not taken by then is done again by the next owner
FIRST_GUESS_SECONDS = 15.0  # an answer's duration before any was measured

Result = TypeVar("Result")

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Entry:
    """An accepted job without a final state."""

    job: Job
    accepted_at: float
    deaths_alone: int = 0
    worker: "Worker | None" = None
    cancelled: bool = False
    last: Event | None = None
    followers: set[asyncio.Queue[Event]] = field(default_factory=set)

    def tell(self, event: Event) -> None:
        self.last = event
        for follower in self.followers:
            follower.put_nowait(event)


@dataclass(slots=True, eq=False)
class Worker:
    """A connected worker; `slots` is 0 until its models are loaded."""

    medium: str
    pid: int
    link: Link
    slots: int = 0
    running: dict[str, _Entry] = field(default_factory=dict)


class EmbeddedQueue:
    """Real as long as this process lives; see the module's own words."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        max_waiting: int,
        need_worker: Callable[[str], None],
        worker_ready: Callable[[str], None] = lambda _medium: None,
    ) -> None:
        self._ledger = ledger
        self._max_waiting = max_waiting
        self._need_worker = need_worker
        self._worker_ready = worker_ready
        self._open: dict[str, _Entry] = {}
        self._waiting: dict[str, deque[_Entry]] = {}
        self._suspects: dict[str, deque[_Entry]] = {}
        self._workers: set[Worker] = set()
        self._writes: asyncio.Queue[Coroutine[None, None, None] | None] = asyncio.Queue()
        self._writer: asyncio.Task[None] | None = None
        self._seconds: dict[str, float] = {}
        self._closing = False

    async def start(self) -> int:
        """Take up every job that an earlier owner left unfinished; returns how many."""
        self._writer = asyncio.create_task(self._write(), name="ledger writer")
        left = await self._ledger.unfinished()
        for job, deaths_alone, accepted_at in left:
            self._add(_Entry(job=job, accepted_at=accepted_at, deaths_alone=deaths_alone))
        return len(left)

    async def accept(self, request: Request, route: Route, job: Job) -> None:
        """Commit, then queue. Raises BusyError or LedgerError, and then nothing was accepted."""
        if len(self._open) >= self._max_waiting:
            raise BusyError(
                f"{len(self._open)} requests are waiting already. Please try again in a few minutes."
            )
        await self._ledger.accept(request, route, job)
        self._add(_Entry(job=job, accepted_at=time.time()))

    def _add(self, entry: _Entry) -> None:
        self._open[entry.job.id] = entry
        line = self._suspects if entry.job.alone else self._waiting
        line.setdefault(entry.job.medium, deque()).append(entry)
        self._need_worker(entry.job.medium)
        self._dispatch(entry.job.medium)

    async def follow(self, job: str) -> AsyncIterator[Event]:
        """Events from here on; a job that is over already gives its final event from the ledger."""
        entry = self._open.get(job)
        if entry is None:
            final = await self._ledger.final(job)
            if final is not None:
                yield final
            return
        inbox: asyncio.Queue[Event] = asyncio.Queue()
        entry.followers.add(inbox)
        try:
            for event in list(self._so_far(entry)):
                yield event
            while True:
                event = await inbox.get()
                yield event
                if is_final(event):
                    return
        finally:
            entry.followers.discard(inbox)

    def _so_far(self, entry: _Entry) -> Iterable[Event]:
        """What a newcomer must know: its place, then that a worker is loading, or the text so far."""
        job, position = entry.job, self._position(entry)
        yield Queued(job=job.id, position=position, eta=self._eta(job.medium, position))
        if entry.worker is None and not self._ready(job.medium):
            yield Loading(job=job.id, attempt=job.attempt, what="the model")
        elif entry.last is not None:
            yield entry.last

    def _position(self, entry: _Entry) -> int:
        """How many jobs of its medium are before it, those that run included; 0 if it runs."""
        running = sum(len(w.running) for w in self._workers if w.medium == entry.job.medium)
        ahead = 0
        for line in (self._suspects, self._waiting):
            for other in line.get(entry.job.medium, ()):
                if other is entry:
                    return running + ahead
                ahead += 1
        return 0

    def _eta(self, medium: str, position: int) -> float:
        """Seconds until it may start: the jobs ahead, by the mean of the latest durations."""
        slots = max(1, sum(w.slots for w in self._workers if w.medium == medium))
        return position / slots * self._seconds.get(medium, FIRST_GUESS_SECONDS)

    def _ready(self, medium: str) -> bool:
        return any(w.medium == medium and w.slots for w in self._workers)

    async def cancel(self, job: str) -> bool:
        """Stop it: at once while it waits, at the next token while it runs."""
        entry = self._open.get(job)
        if entry is None:
            return False
        entry.cancelled = True
        if entry.worker is not None:
            entry.worker.link.post(Stop(job=job))
        else:
            self._forget_place(entry)
            self._writes.put_nowait(self._finish(entry, _cancelled(entry)))
        return True

    def _forget_place(self, entry: _Entry) -> None:
        for line in (self._suspects, self._waiting):
            places = line.get(entry.job.medium)
            if places is not None and entry in places:
                places.remove(entry)

    async def status(self) -> Status:
        """Everything unfinished, oldest first."""
        now = time.time()
        waiting = tuple(
            Waiting(
                job=entry.job.id,
                medium=entry.job.medium,
                expert=entry.job.expert,
                state="running" if entry.worker else "queued",
                seconds=max(0.0, now - entry.accepted_at),
            )
            for entry in self._open.values()
        )
        workers = {w.medium: "ready" if w.slots else "starting" for w in self._workers}
        return Status(owner=os.getpid(), waiting=waiting, workers=workers)

    async def serve(self, hello: Hello, link: Link) -> None:
        """Give a connected worker its jobs and hear its events, until it leaves or dies."""
        worker = Worker(medium=hello.medium, pid=hello.pid, link=link)
        self._workers.add(worker)
        try:
            async for message in link.messages():
                match message:
                    case Ready(slots=slots):
                        worker.slots = slots
                        self._worker_ready(worker.medium)
                        self._dispatch(worker.medium)
                    case Unfit(reason=reason):
                        self.unfit(worker.medium, reason)
                    case Loading() | Started() | Text() | Finished() | Failed() | Cancelled():
                        self._hear(worker, message)
                    case _:
                        log.warning(
                            "a worker sent what only clients send", extra={"pid": hello.pid}
                        )
        finally:
            self._workers.discard(worker)
            self._mourn(worker)

    def _hear(self, worker: Worker, event: Event) -> None:
        entry = worker.running.get(event.job)
        if entry is None or isinstance(event, Queued) or event.attempt != entry.job.attempt:
            return
        match event:
            case Finished() | Failed() | Cancelled():
                del worker.running[event.job]
                self._writes.put_nowait(self._finish(entry, event))
                self._dispatch(worker.medium)
            case Started():
                self._writes.put_nowait(self._started(entry.job))
                entry.tell(event)
            case _:
                entry.tell(event)

    async def _started(self, job: Job) -> None:
        try:
            await self._ledger.started(job.id, job.attempt)
        except LedgerError:
            log.exception("a start was not recorded", extra={"job": job.id})

    async def _finish(self, entry: _Entry, event: Final) -> None:
        """Record, then tell what is on record."""
        if isinstance(event, Finished):
            known = self._seconds.get(entry.job.medium, event.seconds)
            self._seconds[entry.job.medium] = 0.8 * known + 0.2 * event.seconds
        if isinstance(event, Failed):
            extra = {"job": event.job, "expert": entry.job.expert, "reason": event.reason}
            log.error("a job failed", extra=extra)
        await self._insist(lambda: self._ledger.finish(event), event.job)
        final = await self._insist(lambda: self._ledger.final(event.job), event.job)
        self._open.pop(event.job, None)
        entry.tell(final or event)

    async def _insist(self, write: Callable[[], Awaitable[Result]], job: str) -> Result:
        """Ask a ledger that refuses again and again: without this write the job would come twice."""
        while True:
            try:
                return await write()
            except LedgerError:
                log.exception("the ledger refuses; asking again", extra={"job": job})
                await asyncio.sleep(RETRY_SECONDS)

    def _mourn(self, worker: Worker) -> None:
        """A worker's connection closed: its jobs go back, and the deaths are counted."""
        lost, worker.running = list(worker.running.values()), {}
        if self._closing:
            return
        for entry in lost:
            entry.worker = None
            log.warning("a worker died", extra={"pid": worker.pid, "job": entry.job.id})
            if entry.cancelled:
                self._writes.put_nowait(self._finish(entry, _cancelled(entry)))
                continue
            if entry.job.alone:
                entry.deaths_alone += 1
            if entry.deaths_alone >= DEATHS_ALONE:
                self._writes.put_nowait(self._finish(entry, _dead(entry.job)))
                continue
            entry.job = replace(entry.job, attempt=entry.job.attempt + 1, alone=True)
            self._suspects.setdefault(worker.medium, deque()).append(entry)
            self._writes.put_nowait(self._requeued(entry))
        if self._waiting.get(worker.medium) or self._suspects.get(worker.medium):
            self._need_worker(worker.medium)
            self._dispatch(worker.medium)

    async def _requeued(self, entry: _Entry) -> None:
        job, deaths_alone = entry.job, entry.deaths_alone
        await self._insist(lambda: self._ledger.requeued(job, deaths_alone), job.id)
        entry.tell(Queued(job=job.id, position=self._position(entry)))

    def unfit(self, medium: str, reason: str) -> None:
        """No worker can serve the medium: end what waits for it, with the operator's reason."""
        log.error("no worker can serve", extra={"medium": medium, "reason": reason})
        for line in (self._suspects, self._waiting):
            for entry in line.pop(medium, ()):
                job = entry.job
                event = Failed(
                    job=job.id, attempt=job.attempt, message=KIND_SENTENCE, reason=reason
                )
                self._writes.put_nowait(self._finish(entry, event))

    def _dispatch(self, medium: str) -> None:
        """Fill free slots, suspects first and each alone on its worker."""
        suspects = self._suspects.setdefault(medium, deque())
        waiting = self._waiting.setdefault(medium, deque())
        for worker in [w for w in self._workers if w.medium == medium]:
            if any(entry.job.alone for entry in worker.running.values()):
                continue
            if suspects:
                if worker.slots and not worker.running:
                    self._run(worker, suspects.popleft())
                continue
            while waiting and len(worker.running) < worker.slots:
                self._run(worker, waiting.popleft())

    def _run(self, worker: Worker, entry: _Entry) -> None:
        entry.worker = worker
        worker.running[entry.job.id] = entry
        worker.link.post(Run(job=entry.job))

    async def _write(self) -> None:
        """Every write after acceptance, in the order of what happened."""
        while (write := await self._writes.get()) is not None:
            try:
                await write
            except Exception:
                log.exception("a write failed")  # the next ones are other jobs'

    async def close(self) -> None:
        """Stop dispatching and finish what is being written; the rest stays for the next owner."""
        self._closing = True
        self._writes.put_nowait(None)
        if self._writer is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._writer, CLOSE_SECONDS)


def _cancelled(entry: _Entry) -> Cancelled:
    text = entry.last.text if isinstance(entry.last, Text) else ""
    return Cancelled(job=entry.job.id, attempt=entry.job.attempt, text=text)


def _dead(job: Job) -> Failed:
    return Failed(
        job=job.id,
        attempt=job.attempt,
        message=APOLOGY,
        reason=f"its worker died {DEATHS_ALONE} times while it ran alone",
        dead=True,
    )

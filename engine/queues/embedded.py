"""The queue of one owner: an in-memory order over the SQLite ledger, and workers on a socket.

The ledger is the truth. A job is in it before it is in here, and whatever has no final state when
an owner starts is taken up again. Being the only owner, this queue needs no leases: a worker that
died is a connection that closed.

Jobs that were being worked on when their worker died run again one at a time, alone, before anything
else. A job whose worker dies DEATHS_ALONE times while nothing else ran there has shown that it is the
cause, and is given up. (More than once, because a worker may also be killed from outside.) The
owner's own death, a worker that takes its leave, and a job that its worker had not begun count for
nothing.
"""

import asyncio
import logging
import os
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import replace

from engine.errors import APOLOGY, KIND_SENTENCE, BusyError, LedgerError, OwnerGoneError
from engine.events import (
    Cancelled,
    Event,
    Failed,
    Final,
    Finished,
    Image,
    Loading,
    Queued,
    Started,
    Text,
    is_final,
)
from engine.jobs import Job, Request, Status, Waiting
from engine.ledger import Ledger
from engine.queues.crew import Crew, Worker
from engine.queues.line import Entry, Inbox, Line
from engine.queues.writer import OrderedWriter
from engine.routing import Route
from engine.wire import Hello, Leaving, Link, Ready, Run, Stop, Unfit

DEATHS_ALONE = 3
UNHEARD_TRIES = 5  # deaths right after a job was handed over that are put down to chance
FIRST_GUESS_SECONDS = 15.0  # an answer's duration before any was measured
NEWEST_SHARE = 0.2  # how much the newest duration counts in the running mean

log = logging.getLogger(__name__)


def _nobody(_medium: str) -> None:
    """Workers are somebody else's to start."""


class EmbeddedQueue:
    """Real as long as this process lives; see the module's own words."""

    def __init__(
        self,
        ledger: Ledger,
        *,
        max_waiting: int,
        need_worker: Callable[[str], None] = _nobody,
        worker_ready: Callable[[str], None] = _nobody,
    ) -> None:
        self._ledger = ledger
        self._max_waiting = max_waiting
        self._need_worker = need_worker
        self._worker_ready = worker_ready
        self._open: dict[str, Entry] = {}
        self._lines: dict[str, Line] = {}
        self._crew = Crew()
        self._accepting: set[asyncio.Task[None]] = set()
        self._writer = OrderedWriter()
        self._seconds: dict[str, float] = {}
        self._closing = False

    async def start(self) -> int:
        """Take up every job that an earlier owner left unfinished; returns how many."""
        self._writer.start()
        left = await self._ledger.unfinished()
        for job, deaths_alone, accepted_at, asker in left:
            entry = Entry(job=job, accepted_at=accepted_at, asker=asker, deaths_alone=deaths_alone)
            self._add(entry)
        return len(left)

    async def accept(self, request: Request, route: Route, job: Job) -> None:
        """Commit, then queue; a job that is accepted already stays as it is.

        Raises BusyError or LedgerError, and then nothing was accepted. A caller that is cancelled
        meanwhile cancels neither half: what is committed is queued.
        """
        if self._closing:
            raise OwnerGoneError(job.id)
        if len(self._open) + len(self._accepting) >= self._max_waiting:
            raise BusyError(
                f"{len(self._open)} requests are waiting already. Please try again in a few minutes."
            )
        task = asyncio.create_task(self._accept(request, route, job))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        await asyncio.shield(task)

    async def _accept(self, request: Request, route: Route, job: Job) -> None:
        if await self._ledger.accept(request, route, job):
            self._add(Entry(job=job, accepted_at=time.time(), asker=self._ledger.who(request)))

    def _add(self, entry: Entry) -> None:
        if entry.job.id in self._open:
            return
        self._open[entry.job.id] = entry
        self._line(entry.job.medium).add(entry)
        self._need_worker(entry.job.medium)
        self._dispatch(entry.job.medium)

    def _line(self, medium: str) -> Line:
        return self._lines.setdefault(medium, Line())

    async def follow(self, job: str) -> AsyncGenerator[Event]:
        """Events from here on; a job that is over already gives its final event from the ledger."""
        entry = self._open.get(job)
        if entry is None:
            final = await self._ledger.final(job)
            if final is not None:
                yield final
            return
        inbox = Inbox()
        entry.followers.add(inbox)
        try:
            for event in self._so_far(entry):
                yield event
            async for event in inbox.to_the_end():
                yield event
        finally:
            entry.followers.discard(inbox)

    def _so_far(self, entry: Entry) -> list[Event]:
        """What a newcomer must know: its place, then that a worker is loading, or the text so far."""
        job = entry.job
        events: list[Event] = [self._queued(entry)]
        if entry.worker is None and not self._crew.slots(job.medium):
            events.append(Loading(job=job.id, attempt=job.attempt, what="getting the model ready"))
        elif entry.last is not None and not is_final(entry.last):
            events.append(entry.last)
        return events

    def _queued(self, entry: Entry) -> Queued:
        """Its place: how many are before it, those that run included; 0 when it runs itself."""
        medium = entry.job.medium
        position = 0
        for ahead, other in enumerate(self._line(medium), self._crew.running(medium)):
            if other is entry:
                position = ahead
        each = self._seconds.get(medium, FIRST_GUESS_SECONDS)
        entry.place = position
        eta = position * each / max(1, self._crew.slots(medium))
        return Queued(job=entry.job.id, position=position, eta=eta)

    def _tell_places(self, medium: str) -> None:
        """The line has moved: tell each that waits where it stands now."""
        for place, entry in enumerate(self._line(medium), self._crew.running(medium)):
            if entry.followers and entry.place != place:
                entry.tell(self._queued(entry))

    async def cancel(self, job: str) -> bool:
        """Stop it: at once while it waits, at the next token while it runs."""
        entry = self._open.get(job)
        if entry is None:
            return False
        if entry.worker is not None:
            entry.worker.link.post(Stop(job=job))
        elif not entry.cancelled:
            self._line(entry.job.medium).remove(entry)
            self._finish(entry, _cancelled(entry))
            self._tell_places(entry.job.medium)
        entry.cancelled = True
        return True

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
        return Status(owner=os.getpid(), waiting=waiting, workers=self._crew.states())

    async def serve(self, hello: Hello, link: Link) -> None:
        """Give a connected worker its jobs and hear its events, until it leaves or dies."""
        worker = Worker(medium=hello.medium, pid=hello.pid, link=link)
        self._crew.join(worker)
        try:
            async for message in link.messages():
                match message:
                    case Ready(slots=slots):
                        worker.slots = slots
                        self._worker_ready(worker.medium)
                        self._dispatch(worker.medium)
                    case Unfit(reason=reason):
                        self.unfit(worker.medium, reason)
                    case Leaving():
                        worker.leaving = True
                        worker.slots = 0
                    case (
                        Loading()
                        | Started()
                        | Text()
                        | Image()
                        | Finished()
                        | Failed()
                        | Cancelled()
                    ):
                        self._hear(worker, message)
                    case _:
                        log.warning("a worker sent what only clients send")
        finally:
            self._crew.leave(worker)
            self._mourn(worker)

    def _hear(self, worker: Worker, event: Event) -> None:
        entry = worker.running.get(event.job)
        if entry is None or isinstance(event, Queued) or event.attempt != entry.job.attempt:
            return
        entry.heard = True
        match event:
            case Finished() | Failed() | Cancelled():
                del worker.running[event.job]
                self._finish(entry, event)
                self._dispatch(worker.medium)
            case Started():
                job = entry.job
                self._writer.put(lambda: self._ledger.started(job.id, job.attempt), job.id)
                entry.tell(event)
            case _:
                entry.tell(event)

    def _finish(self, entry: Entry, event: Final) -> None:
        """Record it, then tell what is on record."""
        medium = entry.job.medium
        if isinstance(event, Finished):
            known = self._seconds.get(medium, event.seconds)
            self._seconds[medium] = (1 - NEWEST_SHARE) * known + NEWEST_SHARE * event.seconds
        if isinstance(event, Failed):
            extra = {"job": event.job, "expert": entry.job.expert, "reason": event.reason}
            log.error("a job failed", extra=extra)

        async def record() -> None:
            try:
                await self._ledger.finish(event)
            except LedgerError as error:
                what = f"the answer is not on record yet, trying again. {error}"
                entry.tell(Loading(job=event.job, attempt=event.attempt, what=what))
                raise
            final = await self._ledger.final(event.job)
            self._open.pop(event.job, None)
            entry.tell(final or event)

        self._writer.put(record, event.job)

    def _mourn(self, worker: Worker) -> None:
        """A worker's connection closed: its jobs go back, and the deaths are counted."""
        lost, worker.running = list(worker.running.values()), {}
        if self._closing:
            return
        for entry in reversed(lost):
            suspect = entry.heard or entry.job.attempt > UNHEARD_TRIES
            guilty = suspect and not worker.leaving
            entry.worker, entry.heard = None, False
            log.warning("a worker left a job", extra={"pid": worker.pid, "job": entry.job.id})
            if entry.cancelled:
                self._finish(entry, _cancelled(entry))
                continue
            entry.deaths_alone += int(guilty and entry.job.alone)
            if entry.deaths_alone >= DEATHS_ALONE:
                self._finish(entry, _dead(entry.job))
                continue
            self._hand_back(entry, alone=guilty or entry.job.alone)
        if self._line(worker.medium):
            self._need_worker(worker.medium)
            self._dispatch(worker.medium)

    def _hand_back(self, entry: Entry, *, alone: bool) -> None:
        """Under a new attempt number, so that nothing the last worker said can count any more."""
        entry.job = job = replace(entry.job, attempt=entry.job.attempt + 1, alone=alone)
        deaths = entry.deaths_alone
        self._line(job.medium).add(entry, first=True)
        entry.tell(self._queued(entry))
        self._writer.put(lambda: self._ledger.requeued(job, deaths), job.id)

    def unfit(self, medium: str, reason: str) -> None:
        """A worker cannot serve: if no other does, end what waits, with the operator's reason."""
        log.error("a worker cannot serve", extra={"medium": medium, "reason": reason})
        if self._crew.slots(medium):
            return
        for entry in self._line(medium).clear():
            job = entry.job
            self._finish(
                entry,
                Failed(job=job.id, attempt=job.attempt, message=KIND_SENTENCE, reason=reason),
            )

    def _dispatch(self, medium: str) -> None:
        """Fill free slots, suspects first and each alone on its worker."""
        if self._closing:
            return
        line = self._line(medium)
        for worker in self._crew.of(medium):
            while entry := line.take(worker):
                self._run(worker, entry)
        self._tell_places(medium)

    def _run(self, worker: Worker, entry: Entry) -> None:
        entry.worker = worker
        worker.running[entry.job.id] = entry
        worker.link.post(Run(job=entry.job))

    def drain(self) -> None:
        """From now on nothing is accepted, handed out or handed back."""
        self._closing = True

    async def close(self) -> None:
        """Finish what is being written; the rest stays in the ledger for the next owner."""
        self.drain()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        await self._writer.close()


def _cancelled(entry: Entry) -> Cancelled:
    return Cancelled(job=entry.job.id, attempt=entry.job.attempt, text=entry.text)


def _dead(job: Job) -> Failed:
    return Failed(
        job=job.id,
        attempt=job.attempt,
        message=APOLOGY,
        reason=f"its worker died {DEATHS_ALONE} times while it ran alone",
        dead=True,
    )

"""The workers of one process and the jobs in its hands: who gets what, what they say, how they die.

Jobs that were being worked on when their worker died run again one at a time, alone, before anything
else. A job whose worker dies DEATHS_ALONE times while nothing else ran there has shown that it is the
cause, and is given up. (More than once, because a worker may also be killed from outside.) A worker
that takes its leave, and a job that its worker had not begun, count for nothing.
"""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from engine.errors import LedgerError
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
)
from engine.plan.job import Job
from engine.queues import ended
from engine.queues.crew import Crew, Worker
from engine.queues.fair_queue import FairQueue, QueuedJob
from engine.queues.ledger_writer import OrderedWriter
from engine.workers.fingerprint import ServingFingerprint
from engine.workers.protocol import Hello, Leaving, Link, Ready, Refused, Run, Stop, Unfit

DEATHS_ALONE = 3
UNHEARD_TRIES = 5  # deaths right after a job was handed over that are put down to chance
OTHER_KIT = (
    "This worker has another version of the program, or other weights, than the process that it would "
    "work for. Install the same on both, then start it again."
)
FIRST_GUESS_SECONDS = 15.0  # an answer's duration before any was measured
NEWEST_SHARE = 0.2  # how much the newest duration counts in the running mean

log = logging.getLogger(__name__)


class Record(Protocol):
    """Where the floor writes down what happens: ledger.Ledger, or a station's fenced view of it."""

    def started(self, job: str, attempt: int) -> Awaitable[object]:
        """A worker has it."""

    def requeued(self, job: Job, deaths_alone: int) -> Awaitable[object]:
        """It runs again, under the job's new attempt number."""

    def finish(self, event: Final) -> Awaitable[bool]:
        """The answer, once; False if it came too late."""

    def final(self, job: str) -> Awaitable[Final | None]:
        """What is on record."""


def nobody(_medium: str) -> None:
    """Workers are somebody else's to start."""


class Dispatcher:
    """See the module's own words. `need_worker` and `worker_ready` are a supervisor's; a worker
    that serves with another `kit` is refused."""

    def __init__(
        self,
        record: Record,
        *,
        need_worker: Callable[[str], None] = nobody,
        worker_ready: Callable[[str], None] = nobody,
        kit: ServingFingerprint | None = None,
    ) -> None:
        self._kit = kit
        self.entries: dict[str, QueuedJob] = {}
        self.crew = Crew()
        self.writer = OrderedWriter()
        self.closing = False
        self._record = record
        self._need_worker = need_worker
        self._worker_ready = worker_ready
        self._lines: dict[str, FairQueue] = {}
        self._seconds: dict[str, float] = {}

    def add(self, entry: QueuedJob) -> None:
        """A job that is accepted, to be run as soon as a worker is free."""
        if entry.job.id in self.entries:
            return
        self.entries[entry.job.id] = entry
        self.line(entry.job.medium).add(entry)
        self._need_worker(entry.job.medium)
        self.dispatch(entry.job.medium)

    def line(self, medium: str) -> FairQueue:
        """What waits for a medium."""
        return self._lines.setdefault(medium, FairQueue())

    def room(self, medium: str) -> int:
        """How many more could begin now; none beside a suspect."""
        line = self.line(medium)
        running = [e for worker in self.crew.of(medium) for e in worker.running.values()]
        if any(entry.job.alone for entry in (*running, *line)):
            return 0
        return max(0, self.crew.slots(medium) - len(running) - len(list(line)))

    def queued(self, entry: QueuedJob) -> Queued:
        """Its place: how many are before it, those that run included; 0 when it runs itself."""
        medium = entry.job.medium
        position = 0
        for ahead, other in enumerate(self.line(medium), self.crew.running(medium)):
            if other is entry:
                position = ahead
        each = self._seconds.get(medium, FIRST_GUESS_SECONDS)
        entry.place = position
        eta = position * each / max(1, self.crew.slots(medium))
        return Queued(job=entry.job.id, position=position, eta=eta)

    def _tell_places(self, medium: str) -> None:
        """The line has moved: tell each that waits where it stands now."""
        for place, entry in enumerate(self.line(medium), self.crew.running(medium)):
            if entry.followers and entry.place != place:
                entry.tell(self.queued(entry))

    def cancel(self, job: str) -> bool:
        """Stop it: at once while it waits, at the next token while it runs."""
        entry = self.entries.get(job)
        if entry is None:
            return False
        if entry.worker is not None:
            entry.worker.link.post(Stop(job=job))
        elif not entry.cancelled:
            self.line(entry.job.medium).remove(entry)
            self._finish(entry, ended.cancelled(entry))
            self._tell_places(entry.job.medium)
        entry.cancelled = True
        return True

    def drop(self, job: str, reason: str) -> bool:
        """End it as failed, whatever its worker is doing; False when it is not in hand."""
        entry = self.entries.get(job)
        if entry is None:
            return False
        self.forget(entry)
        self._finish(entry, ended.failed(entry.job, reason))
        self.dispatch(entry.job.medium)
        return True

    def forget(self, entry: QueuedJob) -> None:
        """Take it from line and worker; what its worker says of it counts no more."""
        self.line(entry.job.medium).remove(entry)
        if entry.worker is not None:
            entry.worker.running.pop(entry.job.id, None)
            entry.worker.link.post(Stop(job=entry.job.id))

    async def serve(self, hello: Hello, link: Link) -> None:
        """Give a connected worker its jobs and hear its events, until it leaves or dies."""
        if self._kit and hello.kit not in ("", expected := self._kit.told(hello.medium)):
            extra = {"pid": hello.pid, "has": hello.kit, "expected": expected}
            log.error("a worker has another version or other weights", extra=extra)
            link.post(Refused(error="SetupError", message=OTHER_KIT))
            return
        worker = Worker(medium=hello.medium, pid=hello.pid, link=link)
        self.crew.join(worker)
        try:
            async for message in link.messages():
                match message:
                    case Ready(slots=slots):
                        worker.slots = slots
                        self._worker_ready(worker.medium)
                        self.dispatch(worker.medium)
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
            self.crew.leave(worker)
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
                self.dispatch(worker.medium)
            case Started():
                job = entry.job
                self.writer.put(lambda: self._record.started(job.id, job.attempt), job.id)
                entry.tell(event)
            case _:
                entry.tell(event)

    def _finish(self, entry: QueuedJob, event: Final) -> None:
        """Record it, then tell what is on record."""
        medium, entry.ending = entry.job.medium, True
        if isinstance(event, Finished):
            known = self._seconds.get(medium, event.seconds)
            self._seconds[medium] = (1 - NEWEST_SHARE) * known + NEWEST_SHARE * event.seconds
        if isinstance(event, Failed):
            extra = {"job": event.job, "expert": entry.job.expert, "reason": event.reason}
            log.error("a job failed", extra=extra)
        else:
            outcome = type(event).__name__.lower()
            extra = {"job": event.job, "expert": entry.job.expert, "outcome": outcome}
            log.info("a job ended", extra=extra)

        async def record() -> None:
            try:
                await self._record.finish(event)
                final = await self._record.final(event.job)
            except LedgerError as error:
                what = f"the answer is not on record yet, trying again. {error}"
                entry.tell(Loading(job=event.job, attempt=event.attempt, what=what))
                raise
            if self.entries.get(event.job) is entry:
                del self.entries[event.job]
            entry.tell(final or event)

        self.writer.put(record, event.job)

    def _mourn(self, worker: Worker) -> None:
        """A worker's connection closed: its jobs go back, and the deaths are counted."""
        lost, worker.running = list(worker.running.values()), {}
        if self.closing:
            return
        for entry in reversed(lost):
            entry.unheard = 0 if entry.heard else entry.unheard + 1
            suspect = entry.heard or entry.unheard > UNHEARD_TRIES
            guilty = suspect and not worker.leaving
            entry.worker, entry.heard = None, False
            log.warning("a worker left a job", extra={"pid": worker.pid, "job": entry.job.id})
            if entry.cancelled:
                self._finish(entry, ended.cancelled(entry))
                continue
            entry.deaths_alone += int(guilty and entry.job.alone)
            if entry.deaths_alone >= DEATHS_ALONE:
                self._finish(entry, ended.dead(entry.job, DEATHS_ALONE))
                continue
            self._hand_back(entry, alone=guilty or entry.job.alone)
        if self.line(worker.medium):
            self._need_worker(worker.medium)
            self.dispatch(worker.medium)

    def _hand_back(self, entry: QueuedJob, *, alone: bool) -> None:
        """Under a new attempt number, so that nothing the last worker said can count any more."""
        entry.job = job = replace(entry.job, attempt=entry.job.attempt + 1, alone=alone)
        deaths = entry.deaths_alone
        self.line(job.medium).add(entry, first=True)
        entry.tell(self.queued(entry))
        self.writer.put(lambda: self._record.requeued(job, deaths), job.id)

    def unfit(self, medium: str, reason: str) -> None:
        """A worker cannot serve: if no other does, end what waits, with the operator's reason."""
        log.error("a worker cannot serve", extra={"medium": medium, "reason": reason})
        if self.crew.slots(medium):
            return
        for entry in self.line(medium).clear():
            self._finish(entry, ended.failed(entry.job, reason))

    def dispatch(self, medium: str) -> None:
        """Fill free slots, suspects first and each alone on its worker."""
        if self.closing:
            return
        line = self.line(medium)
        for worker in self.crew.of(medium):
            while entry := line.take(worker):
                self._run(worker, entry)
        self._tell_places(medium)

    def _run(self, worker: Worker, entry: QueuedJob) -> None:
        entry.worker = worker
        worker.running[entry.job.id] = entry
        worker.link.post(Run(job=entry.job))

    def drain(self) -> None:
        """From now on nothing is handed out or handed back."""
        self.closing = True

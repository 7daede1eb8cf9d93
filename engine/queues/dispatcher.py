"""Hands the jobs of one process to its workers, hears what they say, and counts their deaths.

Jobs that were being worked on when their worker died run again one at a time, alone, before anything
else. A worker that has jobs in hand and says nothing of any for `stuck_after` seconds hangs: it is
ended like one that died, and a job with which that happens twice is given up. A job whose worker dies
DEATHS_ALONE times while nothing else ran there has shown that it is the cause, and is given up. (More
than once, because a worker may also be killed from outside.) A worker that says that it leaves, and a
job that its worker had not begun, count for nothing.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from engine.errors import APOLOGY, LedgerError
from engine.events import Event, Failed, Final, Finished, Loading, Queued, Started
from engine.plan.job import Job
from engine.queues.fair_queue import FairQueue, QueuedJob, Worker
from engine.queues.ledger_writer import OrderedWriter
from engine.workers.fingerprint import ServingFingerprint
from engine.workers.protocol import REFUSAL, Hello, Link, Refused, Run, Serving, Stop

DEATHS_ALONE = 3
HANGS = 2  # times that a job may be in the hands of a worker that falls silent
UNHEARD_TRIES = 5  # deaths right after a job was handed over that are put down to chance
OTHER_FINGERPRINT = (
    "This worker has another version of the program, or other weights, than the process that it would "
    "work for. Install the same on both, then start it again."
)
LOADING = "getting the model ready"
FIRST_GUESS_SECONDS = 15.0  # an answer's duration before any was measured
NEWEST_SHARE = 0.2  # how much the newest duration counts in the running mean

log = logging.getLogger(__name__)


class Record(Protocol):
    """Where it writes down what happens: ledger.Ledger, or postgres.progress.FencedRecord."""

    def started(self, job: str, attempt: int) -> Awaitable[object]: ...

    def requeued(self, job: Job, deaths_alone: int) -> Awaitable[object]: ...

    def finish(self, event: Final) -> Awaitable[bool]:
        """Write the answer, once; False if it came too late."""

    def final(self, job: str) -> Awaitable[Final | None]: ...


def nobody(*_worker: object) -> None:
    """Leave workers to whoever starts them."""


@dataclass(slots=True, eq=False)
class Dispatcher:
    """`need_worker` and `worker_ready` are a supervisor's; a worker with none of the
    `fingerprints` is refused. `dispatched(medium)` is called when there may be room; with
    `on_unfit(medium, reason)` what waits is not failed because its worker cannot serve."""

    record: Record
    need_worker: Callable[[str], None] = nobody
    worker_ready: Callable[[str], None] = nobody
    end_worker: Callable[[str, int], None] = nobody
    stuck_after: float = math.inf
    dispatched: Callable[[str], None] = nobody
    on_unfit: Callable[[str, str], None] | None = None
    fingerprints: Callable[[], Iterable[ServingFingerprint]] = tuple
    entries: dict[str, QueuedJob] = field(default_factory=dict)
    workers: set[Worker] = field(default_factory=set)
    writer: OrderedWriter = field(default_factory=OrderedWriter)
    closing: bool = False
    _queues: dict[str, FairQueue] = field(default_factory=dict)
    _seconds: dict[str, float] = field(default_factory=dict)

    def add(self, entry: QueuedJob) -> None:
        if entry.job.id in self.entries:
            return
        self.entries[entry.job.id] = entry
        self.queue_of(entry.job.medium).add(entry)
        self.need_worker(entry.job.medium)
        self.dispatch(entry.job.medium)

    def queue_of(self, medium: str) -> FairQueue:
        return self._queues.setdefault(medium, FairQueue())

    def _of(self, medium: str) -> list[Worker]:
        return [worker for worker in self.workers if worker.medium == medium]

    def running(self, medium: str) -> int:
        return sum(len(worker.running) for worker in self._of(medium))

    def slots(self, medium: str) -> int:
        return sum(worker.slots for worker in self._of(medium))

    def room(self, medium: str) -> int:
        """Count how many more could begin now; none beside a suspect."""
        waiting = list(self.queue_of(medium))
        running = [e for worker in self._of(medium) for e in worker.running.values()]
        if any(entry.job.alone for entry in (*running, *waiting)):
            return 0
        return max(0, self.slots(medium) - len(running) - len(waiting))

    def queued(self, entry: QueuedJob) -> Queued:
        """Count those before it, those that run included; 0 when it runs itself."""
        medium = entry.job.medium
        before = enumerate(self.queue_of(medium), self.running(medium))
        position = next((ahead for ahead, other in before if other is entry), 0)
        each = self._seconds.get(medium, FIRST_GUESS_SECONDS)
        entry.place = position
        eta = position * each / max(1, self.slots(medium))
        return Queued(job=entry.job.id, position=position, eta=eta)

    def _tell_positions(self, medium: str) -> None:
        for place, entry in enumerate(self.queue_of(medium), self.running(medium)):
            if entry.followers and entry.place != place:
                entry.tell(self.queued(entry))

    def cancel(self, job: str) -> bool:
        entry = self.entries.get(job)
        if entry is None:
            return False
        if entry.worker is not None:
            entry.worker.link.post(Stop(job=job))
        elif not entry.cancelled:
            self.queue_of(entry.job.medium).remove(entry)
            self._finish(entry, entry.as_cancelled())
            self._tell_positions(entry.job.medium)
        entry.cancelled = True
        return True

    def drop(self, job: str, reason: str) -> bool:
        """End it as failed, whatever its worker is doing; False when it is not in hand."""
        entry = self.entries.get(job)
        if entry is None:
            return False
        self.forget(entry)
        self._finish(entry, entry.as_failed(reason))
        self.dispatch(entry.job.medium)
        return True

    def forget(self, entry: QueuedJob) -> None:
        """Take it from line and worker; what its worker says of it counts no more."""
        self.queue_of(entry.job.medium).remove(entry)
        if entry.worker is not None:
            entry.worker.running.pop(entry.job.id, None)
            entry.worker.link.post(Stop(job=entry.job.id))

    async def serve(self, hello: Hello, link: Link) -> None:
        ours = await asyncio.to_thread(self.fingerprints)
        expected = [fingerprint.told(hello.medium) for fingerprint in ours]
        if expected and hello.fingerprint not in ("", *expected):
            extra = {"pid": hello.pid, "has": hello.fingerprint, "expected": expected}
            log.error("a worker has another version or other weights", extra=extra)
            for said in await link.dismiss(Refused(error=REFUSAL, message=OTHER_FINGERPRINT)):
                if isinstance(said, Serving) and said.reason:
                    self.unfit(hello.medium, said.reason)
            return
        worker = Worker(medium=hello.medium, pid=hello.pid, link=link)
        self.workers.add(worker)
        try:
            while (message := await worker.next(self.stuck_after)) is not None:
                match message:
                    case _ if isinstance(message, Event):
                        self._hear(worker, message)
                    case Serving(reason=reason) if reason:
                        self.unfit(worker.medium, reason)
                    case Serving(slots=slots):
                        worker.slots, worker.leaving = slots, not slots
                        if slots:
                            self.worker_ready(worker.medium)
                            self.dispatch(worker.medium)
                    case _:
                        log.warning("a worker sent what only clients send")
        except TimeoutError:
            log.error("a worker hangs and is ended", extra={"pid": worker.pid})
            for entry in worker.running.values():
                entry.hangs += 1
            self.end_worker(worker.medium, worker.pid)
        finally:
            self.workers.discard(worker)
            self._worker_lost(worker)

    def _hear(self, worker: Worker, event: Event) -> None:
        entry = worker.running.get(event.job)
        if entry is None or isinstance(event, Queued) or event.attempt != entry.job.attempt:
            return
        entry.heard = True
        if isinstance(event, Final):
            del worker.running[event.job]
            self._finish(entry, event)
            self.dispatch(worker.medium)
            return
        if isinstance(event, Started):
            job = entry.job
            self.writer.put(lambda: self.record.started(job.id, job.attempt), job.id)
        entry.tell(event)

    def _finish(self, entry: QueuedJob, event: Final) -> None:
        medium, entry.ending = entry.job.medium, True
        extra = {"job": event.job, "expert": entry.job.expert}
        if isinstance(event, Finished):
            known = self._seconds.get(medium, event.seconds)
            self._seconds[medium] = (1 - NEWEST_SHARE) * known + NEWEST_SHARE * event.seconds
        if isinstance(event, Failed):
            log.error("a job failed", extra=extra | {"reason": event.reason})
        else:
            log.info("a job ended", extra=extra | {"outcome": type(event).__name__.lower()})

        async def record() -> None:
            try:
                await self.record.finish(event)
                final = await self.record.final(event.job)
            except LedgerError as error:
                what = f"the answer is not on record yet, trying again. {error}"
                entry.tell(Loading(job=event.job, attempt=event.attempt, what=what))
                raise
            if self.entries.get(event.job) is entry:
                del self.entries[event.job]
            entry.tell(final or event)

        self.writer.put(record, event.job)

    def _worker_lost(self, worker: Worker) -> None:
        lost, worker.running = list(worker.running.values()), {}
        if self.closing:
            return
        for entry in reversed(lost):
            entry.unheard = 0 if entry.heard else entry.unheard + 1
            suspect = entry.heard or entry.unheard > UNHEARD_TRIES
            guilty = suspect and not worker.leaving
            entry.worker, entry.heard = None, False
            log.warning("a worker left a job", extra={"pid": worker.pid, "job": entry.job.id})
            entry.deaths_alone += int(guilty and entry.job.alone and not entry.cancelled)
            if entry.cancelled:
                self._finish(entry, entry.as_cancelled())
            elif entry.hangs >= HANGS or entry.deaths_alone >= DEATHS_ALONE:
                reason = f"its worker died {DEATHS_ALONE} times while it ran alone"
                if entry.hangs >= HANGS:
                    reason = f"its worker said nothing for {self.stuck_after:.0f} s, {HANGS} times"
                self._finish(entry, entry.as_failed(reason, message=APOLOGY, dead=True))
            else:
                self._hand_back(entry, alone=bool(guilty or entry.hangs or entry.job.alone))
        if self.queue_of(worker.medium):
            self.need_worker(worker.medium)
            self.dispatch(worker.medium)

    def _hand_back(self, entry: QueuedJob, *, alone: bool) -> None:
        """Queue it under a new attempt number, so that what the last worker said counts no more."""
        entry.job = job = replace(entry.job, attempt=entry.job.attempt + 1, alone=alone)
        deaths = entry.deaths_alone
        self.queue_of(job.medium).add(entry, first=True)
        entry.tell(self.queued(entry))
        self.writer.put(lambda: self.record.requeued(job, deaths), job.id)

    def unfit(self, medium: str, reason: str) -> None:
        log.error("a worker cannot serve", extra={"medium": medium, "reason": reason})
        if self.slots(medium):  # another one serves it
            return
        if self.on_unfit is not None:
            self.on_unfit(medium, reason)
            return
        for entry in self.queue_of(medium).clear():
            self._finish(entry, entry.as_failed(reason))

    def dispatch(self, medium: str) -> None:
        if self.closing:
            return
        for worker in self._of(medium):
            while entry := self.queue_of(medium).take(worker):
                worker.begin(entry)
                worker.link.post(Run(job=entry.job))
        self._tell_positions(medium)
        self.dispatched(medium)

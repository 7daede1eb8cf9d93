"""The order of what waits for one medium: suspects first, then a fair turn for each asker.

Start-time fair queueing (Goyal, Vin and Cheng 1996) with jobs of equal cost: an asker's first job has
its turn now, the next one turn later, and so on. Somebody who asks for a hundred things at once waits
for them; whoever asks for one thing meanwhile is before the second of those. Between equals, first
come, first served; nobody waits longer than one turn of everybody else for each of their own.
"""

import asyncio
import time
from bisect import insort
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field

from engine.errors import KIND_SENTENCE
from engine.events import Cancelled, Event, Failed, Text
from engine.plan.job import Job
from engine.queues.inbox import Follower
from engine.workers.protocol import Link, Message

LOOKS = 4  # at a silent worker, within the time that it has


@dataclass(slots=True, eq=False)
class Worker:
    """A connected worker; `slots` is 0 until its models are loaded. `spoke` is when it last said
    something, or was given work while it had none (time.monotonic())."""

    medium: str
    pid: int
    link: Link
    slots: int = 0
    leaving: bool = False
    spoke: float = 0.0
    running: "dict[str, QueuedJob]" = field(default_factory=dict)

    def begin(self, entry: "QueuedJob") -> None:
        """Put a job into its hands; its silence counts from the first on."""
        if not self.running:
            self.spoke = time.monotonic()
        entry.worker = self
        self.running[entry.job.id] = entry

    async def next(self, patience: float) -> Message | None:
        """Give what it says; None at its end. Raises TimeoutError for a silence while it has work."""
        while not self.running or time.monotonic() - self.spoke < patience:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience / LOOKS):
                    message = await self.link.receive()
                    self.spoke = time.monotonic()
                    return message
        raise TimeoutError


@dataclass(slots=True, eq=False)
class QueuedJob:
    """An accepted job without a final state, and those who follow it.

    `heard` says that its present worker has said anything of it: only then can it have been what
    that worker died of; `unheard` counts workers that died before, `hangs` those that fell silent.
    `place` was last told to its followers; `number` is the worker's that claimed it (on Postgres);
    `ending` says that its final answer is being recorded.
    """

    job: Job
    accepted_at: float
    asker: str = ""
    turn: int = 0
    deaths_alone: int = 0
    worker: Worker | None = None
    heard: bool = False
    unheard: int = 0
    hangs: int = 0
    number: int = 0
    ending: bool = False
    cancelled: bool = False
    place: int = -1
    last: Event | None = None
    followers: set[Follower] = field(default_factory=set)

    def tell(self, event: Event) -> None:
        self.last = event
        for follower in self.followers:
            follower.put(event)

    def as_cancelled(self) -> Cancelled:
        text = self.last.text if isinstance(self.last, Text) else ""
        return Cancelled(job=self.job.id, attempt=self.job.attempt, text=text)

    def as_failed(self, reason: str, *, message: str = KIND_SENTENCE, dead: bool = False) -> Failed:
        job, attempt = self.job.id, self.job.attempt
        return Failed(job=job, attempt=attempt, message=message, reason=reason, dead=dead)


class FairQueue:
    def __init__(self) -> None:
        self._suspects: deque[QueuedJob] = deque()
        self._waiting: list[QueuedJob] = []  # by turn
        self._turn = 0  # the turn of what was begun last
        self._next: dict[str, int] = {}  # asker to the turn of the next job

    def __iter__(self) -> Iterator[QueuedJob]:
        yield from self._suspects
        yield from self._waiting

    def __bool__(self) -> bool:
        return bool(self._suspects or self._waiting)

    def add(self, entry: QueuedJob, *, first: bool = False) -> None:
        """Put a job at its end; `first` for one that was handed back and had its turn."""
        if entry.job.alone:
            (self._suspects.appendleft if first else self._suspects.append)(entry)
        elif first:
            entry.turn = self._turn
            self._waiting.insert(0, entry)
        else:
            entry.turn = max(self._turn, self._next.get(entry.asker, 0))
            self._next[entry.asker] = entry.turn + 1
            insort(self._waiting, entry, key=lambda other: other.turn)

    def remove(self, entry: QueuedJob) -> None:
        for jobs in (self._suspects, self._waiting):
            if entry in jobs:
                jobs.remove(entry)

    def take(self, worker: Worker) -> QueuedJob | None:
        """Take what the worker may begin now: a suspect only alone, and nothing beside one."""
        if any(entry.job.alone for entry in worker.running.values()):
            return None
        if self._suspects:
            return self._suspects.popleft() if worker.slots and not worker.running else None
        if not self._waiting or len(worker.running) >= worker.slots:
            return None
        entry = self._waiting.pop(0)
        self._turn = max(self._turn, entry.turn)
        if not self._waiting:
            self._next.clear()
        return entry

    def clear(self) -> list[QueuedJob]:
        entries = list(self)
        self._suspects.clear()
        self._waiting.clear()
        return entries

"""The order of what waits for one medium: suspects first, then a fair turn for each asker.

Start-time fair queueing (Goyal, Vin and Cheng 1996) with jobs of equal cost: an asker's first job has
its turn now, the next one turn later, and so on. Somebody who asks for a hundred things at once waits
for them; whoever asks for one thing meanwhile is before the second of those. Between equals, first
come, first served; nobody waits longer than one turn of everybody else for each of their own.
"""

import asyncio
from bisect import insort
from collections import deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from engine.events import Event, Image, Text, is_final
from engine.plan.job import Job

if TYPE_CHECKING:
    from engine.queues.crew import Worker


@dataclass(slots=True, eq=False)
class QueuedJob:
    """An accepted job without a final state, and those who follow it.

    `heard` says that its present worker has said anything of it: only then can it have been what
    that worker died of; `unheard` counts workers that died before. `place` is the position that its
    followers were last told; `number` is the worker's that claimed it (on Postgres); `ending` says that
    its final answer is being recorded.
    """

    job: Job
    accepted_at: float
    asker: str = ""
    turn: int = 0
    deaths_alone: int = 0
    worker: "Worker | None" = None
    heard: bool = False
    unheard: int = 0
    number: int = 0
    ending: bool = False
    cancelled: bool = False
    place: int = -1
    last: Event | None = None
    followers: "set[Follower]" = field(default_factory=set)

    def tell(self, event: Event) -> None:
        """To every follower, now."""
        self.last = event
        for follower in self.followers:
            follower.put(event)

    @property
    def text(self) -> str:
        """What was written so far."""
        return self.last.text if isinstance(self.last, Text) else ""


class Follower(Protocol):
    """Whoever is told: an Inbox, or a station's relay."""

    def put(self, event: Event) -> None:
        """Never waits."""


class Inbox:
    """What one follower has not read yet. Progress is lossy: a newer text replaces one unread."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._news = asyncio.Event()

    def put(self, event: Event) -> None:
        """Never waits."""
        if (
            self._events
            and isinstance(event, Text | Image)
            and isinstance(self._events[-1], type(event))
        ):
            self._events[-1] = event
        else:
            self._events.append(event)
        self._news.set()

    async def read(self) -> Event:
        """The oldest unread event."""
        while not self._events:
            self._news.clear()
            await self._news.wait()
        return self._events.popleft()

    async def to_the_end(self) -> AsyncIterator[Event]:
        """Everything up to the final event."""
        while True:
            event = await self.read()
            yield event
            if is_final(event):
                return


class FairQueue:
    """What waits for one medium."""

    def __init__(self) -> None:
        self._suspects: deque[QueuedJob] = deque()
        self._waiting: list[QueuedJob] = []  # by turn
        self._turn = 0  # the turn of what was begun last
        self._next: dict[str, int] = {}  # asker to the turn of the next job

    def __iter__(self) -> Iterator[QueuedJob]:
        """In the order in which they will run."""
        yield from self._suspects
        yield from self._waiting

    def __bool__(self) -> bool:
        return bool(self._suspects or self._waiting)

    def add(self, entry: QueuedJob, *, first: bool = False) -> None:
        """At its end; `first` for a job that was handed back and had its turn."""
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
        """If it is there."""
        if entry in self._suspects:
            self._suspects.remove(entry)
        if entry in self._waiting:
            self._waiting.remove(entry)

    def take(self, worker: "Worker") -> QueuedJob | None:
        """What the worker may begin now: a suspect only alone, and nothing beside one."""
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
        """Everything, taken out."""
        entries = list(self)
        self._suspects.clear()
        self._waiting.clear()
        return entries

"""The workers that are connected now."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from engine.workers.protocol import Link

if TYPE_CHECKING:
    from engine.queues.fair_queue import QueuedJob


@dataclass(slots=True, eq=False)
class Worker:
    """A connected worker; `slots` is 0 until its models are loaded."""

    medium: str
    pid: int
    link: Link
    slots: int = 0
    leaving: bool = False
    running: "dict[str, QueuedJob]" = field(default_factory=dict)


class Crew:
    """All of them, by medium."""

    def __init__(self) -> None:
        self._workers: set[Worker] = set()

    def join(self, worker: Worker) -> None:
        """It has connected."""
        self._workers.add(worker)

    def leave(self, worker: Worker) -> None:
        """Its connection has closed."""
        self._workers.discard(worker)

    def __iter__(self) -> Iterator[Worker]:
        """Everybody."""
        return iter(list(self._workers))

    def of(self, medium: str) -> Iterator[Worker]:
        """Those of a medium."""
        return (w for w in list(self._workers) if w.medium == medium)

    def running(self, medium: str) -> int:
        """How many jobs they have in hand."""
        return sum(len(w.running) for w in self.of(medium))

    def slots(self, medium: str) -> int:
        """How many they could have."""
        return sum(w.slots for w in self.of(medium))

    def states(self) -> dict[str, str]:
        """Medium to "ready" or "starting"."""
        return {w.medium: "ready" if self.slots(w.medium) else "starting" for w in self._workers}

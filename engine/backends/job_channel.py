"""What connects a job in the model's thread with the asker's side in the event loop."""

import asyncio
import threading
from collections.abc import Iterable

from engine.events import Event, is_final
from engine.plan.job import Job

Item = Event | Exception | None  # None: another backend serves the job


class JobChannel:
    """One job between two threads. Only the model's thread emits, only the loop's reads."""

    def __init__(self, job: Job, stop: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        self.job = job
        self.loop = loop
        self.inbox: asyncio.Queue[Item] = asyncio.Queue()
        self.unsent: list[Item] = []
        self.done = False
        self._stop = stop
        self._gone = threading.Event()

    def stopped(self) -> bool:
        """Tell whether the job was cancelled, or nobody listens any more."""
        return self._stop.is_set() or self._gone.is_set()

    def leave(self) -> None:
        self._gone.set()

    def emit(self, item: Item) -> None:
        """Keep an item for the next delivery."""
        self.unsent.append(item)
        self.done = item is None or isinstance(item, Exception) or is_final(item)


def deliver(tickets: Iterable[JobChannel]) -> None:
    """Hand over everything unsent, waking each event loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[JobChannel, list[Item]]]] = {}
    for ticket in tickets:
        if ticket.unsent:
            loops.setdefault(ticket.loop, []).append((ticket, ticket.unsent))
            ticket.unsent = []
    for loop, said in loops.items():
        if not loop.is_closed():  # else those who asked are gone
            loop.call_soon_threadsafe(_read_out, said)


def _read_out(said: list[tuple[JobChannel, list[Item]]]) -> None:
    for ticket, items in said:
        for item in items:
            ticket.inbox.put_nowait(item)

"""What a model or a text server writes holds nothing that a screen would obey."""

import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from engine.backends import Backend
from engine.backends.counters import Counters
from engine.characters import visible
from engine.events import Cancelled, Event, Failed, Finished, Text
from engine.plan.job import Job


class Visible:
    """Wrap a backend and remove control characters, directions and heaps of marks from its words."""

    def __init__(self, backend: Backend) -> None:
        self.bare = backend

    @property
    def slots(self) -> int:
        return self.bare.slots

    @property
    def gauges(self) -> Counters | None:
        """Give the batch's counts, where the backend has them."""
        gauges = getattr(self.bare, "gauges", None)
        return gauges if isinstance(gauges, Counters) else None

    async def load(self) -> None:
        await self.bare.load()

    async def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        async with aclosing(self.bare.generate(job, stop)) as events:
            async for event in events:
                yield _seen(event)


def _seen(event: Event) -> Event:
    match event:
        case Finished(text=text, notes=notes):
            return replace(event, text=visible(text), notes=tuple(visible(note) for note in notes))
        case Text(text=text) | Cancelled(text=text):
            return replace(event, text=visible(text))
        case Failed(message=message, reason=reason):
            return replace(event, message=visible(message), reason=visible(reason))
        case _:
            return event

"""The events that one follower of a job has not read yet."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from typing import Protocol

from engine.events import Event, Image, Text, is_final


class Follower(Protocol):
    """Whoever is told of a job: an Inbox, or the relay of a process with workers."""

    def put(self, event: Event) -> None:
        """Take an event without waiting."""


class Inbox:
    """A queue for one reader. Progress is lossy: a newer text or preview replaces one unread."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._news = asyncio.Event()

    def put(self, event: Event) -> None:
        if (
            self._events
            and isinstance(event, Text | Image)
            and isinstance(self._events[-1], type(event))
        ):
            self._events[-1] = event
        else:
            self._events.append(event)
        self._news.set()

    async def to_the_end(self) -> AsyncIterator[Event]:
        """Give everything up to the final event."""
        while True:
            while not self._events:
                self._news.clear()
                await self._news.wait()
            event = self._events.popleft()
            yield event
            if is_final(event):
                return

"""The events that one follower of a job has not read yet."""

import asyncio
from collections import deque
from typing import Protocol, Self

from engine.events import Event, Image, Text, is_final


class Follower(Protocol):
    """Be told of a job, without waiting: an Inbox, or postgres.progress.ProgressRelay."""

    def put(self, event: Event) -> None: ...


class Inbox:
    """A queue for one reader. Progress is lossy: a newer text or preview replaces one unread."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._news = asyncio.Event()
        self._ended = False

    def put(self, event: Event) -> None:
        unread = self._events[-1] if self._events else None
        if isinstance(event, Text | Image) and isinstance(unread, type(event)):
            self._events.pop()
        self._events.append(event)
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        if self._ended:
            raise StopAsyncIteration
        while not self._events:
            self._news.clear()
            await self._news.wait()
        event = self._events.popleft()
        self._ended = is_final(event)
        return event

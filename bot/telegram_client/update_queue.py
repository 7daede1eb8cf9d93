"""The order in which updates are taken in: a chat's one after the other, different chats side by side.

A chat whose line is full, and a person who sends faster than anybody types, are not listened to for the
moment, so that one who floods keeps nobody else waiting and fills no memory.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from engine.chat.quotas import Bucket

MOST_WAITING = 20  # updates of one chat
FEW = 3  # so many of one chat are waited for before a batch is confirmed
MOST_SEEN = 20_000  # update numbers remembered in memory
# Updates of one person, dropped without a word: more than Hurry's, whose refusals are said
FLOOD = Bucket(burst=40, hourly=3 * 3600)

log = logging.getLogger(__name__)


class ChatLocks:
    """A lock for each chat, there while somebody waits for it."""

    def __init__(self) -> None:
        self._locks: dict[int, asyncio.Lock] = {}
        self._waiting: dict[int, int] = {}

    def full(self, chat: int) -> bool:
        """Whether the chat has as many waiting as it may."""
        return self._waiting.get(chat, 0) >= MOST_WAITING

    def short(self, chat: int) -> bool:
        """Whether the chat has so few waiting that others may wait for them."""
        return self._waiting.get(chat, 0) < FEW

    def enter(self, chat: int) -> None:
        """One more waits, from now on until its turn() is over."""
        self._waiting[chat] = self._waiting.get(chat, 0) + 1

    @asynccontextmanager
    async def turn(self, chat: int) -> AsyncIterator[None]:
        """Within, nothing else of the chat is taken in."""
        try:
            async with self._locks.setdefault(chat, asyncio.Lock()):
                yield
        finally:
            self._waiting[chat] -= 1
            if not self._waiting[chat]:
                del self._waiting[chat], self._locks[chat]

"""How fast one person may send anything, and what comes again: in memory, before the database."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from bot.locales import words
from bot.service.request import Who
from engine.chat.quotas import Bucket
from engine.errors import LimitError

PACE = Bucket(burst=30, hourly=2 * 3600)  # 30 at once, then two a second
REMEMBERED = 10_000  # people
Key = TypeVar("Key")
Value = TypeVar("Value")


class RateLimit:
    """Keep a token bucket for each key; what is refused is not charged, so a refusal ends."""

    def __init__(self, bucket: Bucket, now: Callable[[], float] = time.monotonic) -> None:
        self._bucket = bucket
        self._now = now
        self._left = Bounded[Hashable, tuple[float, float]](REMEMBERED)

    def allows(self, key: Hashable) -> bool:
        """Take one from the key's bucket, if it holds one."""
        now = self._now()
        left, at = self._left.get(key, (self._bucket.burst, now))
        left = self._bucket.now(left, now - at)
        self._left[key] = (left - 1 if left >= 1 else left, now)
        return left >= 1


class RequestRate:
    def __init__(
        self, most: int, now: Callable[[], float] = time.monotonic, *, limited: bool = True
    ) -> None:
        self.most = most
        self.limit = RateLimit(PACE, now) if limited else None
        self._asking: dict[tuple[str, str], int] = {}

    def step(self, who: Who) -> None:
        """Count one more command or press. Raises LimitError for too many of them."""
        if self.limit is not None and not self.limit.allows(who.account):
            raise LimitError(words("talk.too_fast", who.locale))

    @contextmanager
    def asking(self, who: Who) -> Iterator[None]:
        """Hold one of a person's places. Raises LimitError when they are taken."""
        person = who.account
        count = self._asking.get(person, 0)
        if self.most and count >= self.most:
            raise LimitError(words("talk.too_many", who.locale, count=count))
        self._asking[person] = count + 1
        try:
            yield
        finally:
            self._asking[person] -= 1
            if not self._asking[person]:
                del self._asking[person]


class Bounded(OrderedDict[Key, Value]):
    """Keep the newest `most` items."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def __setitem__(self, key: Key, value: Value) -> None:
        super().__setitem__(key, value)
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)


class Repeats:
    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._at = Bounded[Hashable, float](most)

    def lately(self, what: Hashable, seconds: float) -> bool:
        return what in self._at and self._clock() - self._at[what] < seconds

    def new(self, what: Hashable, seconds: float = float("inf")) -> bool:
        """Whether it comes for the first time, or again after so many seconds.

        What comes too soon renews nothing: the silence after a refusal ends, however often it is asked.
        """
        if self.lately(what, seconds):
            return False
        self._at[what] = self._clock()
        return True

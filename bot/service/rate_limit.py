"""How fast one person may send anything at all, before the database is asked. In memory, and cheap."""

import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from bot.locales import words
from bot.service.repeats import Bounded
from bot.service.request import Who
from engine.chat.quotas import Bucket
from engine.errors import LimitError

PACE = Bucket(burst=30, hourly=2 * 3600)  # 30 at once, then two a second
REMEMBERED = 10_000  # people


class RateLimit:
    """Keep a token bucket for each key; what is refused is not charged, so a refusal ends."""

    def __init__(
        self, bucket: Bucket, now: Callable[[], float] = time.monotonic, most: int = REMEMBERED
    ) -> None:
        self._bucket = bucket
        self._now = now
        self._left = Bounded[Hashable, tuple[float, float]](most)

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

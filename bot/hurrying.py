"""How fast one person may send anything at all, before the database is asked. In memory, and cheap."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bot.conversation import Who
from bot.locales import words
from engine.desk.quotas import Bucket
from engine.errors import LimitError

PACE = Bucket(burst=30, hourly=2 * 3600)  # 30 at once, then two a second
REMEMBERED = 10_000  # people


class Hurry:
    """Commands and presses of everybody, by person."""

    def __init__(
        self, most: int, now: Callable[[], float] = time.monotonic, *, limited: bool = True
    ) -> None:
        self._most = most
        self._limited = limited
        self._now = now
        self._left: dict[tuple[str, str], tuple[float, float]] = {}
        self._asking: dict[tuple[str, str], int] = {}

    def step(self, who: Who) -> None:
        """One more command or press. Raises LimitError for too many of them."""
        person, now = (who.platform, who.asker), self._now()
        left, at = self._left.pop(person, (PACE.burst, now))
        left = PACE.now(left, now - at)
        self._left[person] = (max(0.0, left - 1), now)
        while len(self._left) > REMEMBERED:
            del self._left[next(iter(self._left))]
        if left < 1 and self._limited:
            raise LimitError(words("talk.too_fast", who.locale))

    @contextmanager
    def asking(self, who: Who) -> Iterator[None]:
        """Around a request. Raises LimitError when as many of theirs are in here as may be."""
        person = (who.platform, who.asker)
        count = self._asking.get(person, 0)
        if self._most and count >= self._most:
            raise LimitError(words("talk.too_many", who.locale, count=count))
        self._asking[person] = count + 1
        try:
            yield
        finally:
            self._asking[person] -= 1
            if not self._asking[person]:
                del self._asking[person]

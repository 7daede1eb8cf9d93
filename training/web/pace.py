"""How long to wait: between calls, and before trying a failed one again. Pure but for the sleep."""

import random
import time
from collections.abc import Callable, Mapping

FIRST_RETRY = 1.0  # seconds; doubles with each try
LONGEST_RETRY = 60.0  # seconds
EPOCH_LIKE = 1e9  # a reset header above this is a time of day, not a number of seconds
RESET_HEADERS = ("retry-after", "ratelimit-reset")


class Pace:
    """Let a call through at most once in `seconds`."""

    def __init__(
        self,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.seconds = seconds
        self.clock = clock
        self.sleep = sleep
        self.last: float | None = None

    def wait(self) -> None:
        if self.last is not None:
            remaining = self.last + self.seconds - self.clock()
            if remaining > 0:
                self.sleep(remaining)
        self.last = self.clock()


def retry_delay(headers: Mapping[str, str], tries: int, first: float, now: float) -> float:
    """Seconds before the next try: doubling, or longer where the server says so.

    >>> retry_delay({"ratelimit-reset": "7"}, 1, first=1.0, now=0.0)
    7.0
    >>> retry_delay({"retry-after": "0"}, 1, first=1.0, now=0.0) >= 1.0
    True
    >>> 1.0 <= retry_delay({}, 1, first=1.0, now=0.0) <= 1.25
    True
    """
    own = min(LONGEST_RETRY, float(first * 2 ** (tries - 1))) * random.uniform(1.0, 1.25)
    for name in RESET_HEADERS:
        try:
            said = float(headers.get(name, ""))
        except ValueError:
            continue
        return max(own, said - now if said > EPOCH_LIKE else said)
    return own

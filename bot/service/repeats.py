"""What was heard, pressed or said lately, to know what comes again. In memory, and bounded."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TypeVar

Key = TypeVar("Key")
Value = TypeVar("Value")


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

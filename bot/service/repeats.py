"""What was heard, pressed or said lately, to know what comes again. In memory, and bounded."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable


class Repeats:
    """Remembers the newest `most`."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._clock = clock
        self._at: OrderedDict[Hashable, float] = OrderedDict()

    def lately(self, what: Hashable, seconds: float) -> bool:
        """Whether it came within so many seconds."""
        return what in self._at and self._clock() - self._at[what] < seconds

    def new(self, what: Hashable, seconds: float = float("inf")) -> bool:
        """Whether it comes for the first time, or again after so many seconds.

        What comes too soon renews nothing: the silence after a refusal ends, however often it is asked.
        """
        if self.lately(what, seconds):
            return False
        self._at[what] = self._clock()
        self._at.move_to_end(what)
        if len(self._at) > self._most:
            self._at.popitem(last=False)
        return True

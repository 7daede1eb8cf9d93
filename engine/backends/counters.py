"""Count what the batch does, for whoever measures it."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.backends.mixing.sequence import TextSequence

LAST = 10_000  # times that are kept while nobody collects them


@dataclass(slots=True, eq=False)
class Counters:
    """Count a batch's work; engine.monitor.metrics shows it to Prometheus."""

    busy: int = 0
    tokens_in: int = 0
    tokens_known: int = 0  # of those, how many the prefix cache held
    tokens_out: int = 0
    # Seconds that nobody has collected yet.
    waits: deque[float] = field(default_factory=lambda: deque(maxlen=LAST))
    firsts: deque[float] = field(default_factory=lambda: deque(maxlen=LAST))

    def seated(self, row: "TextSequence") -> None:
        self.tokens_in += len(row.tokens)
        self.tokens_known += row.read
        if not row.written:
            self.waits.append(time.monotonic() - row.waited)

    def wrote(self, row: "TextSequence", *, first: bool) -> None:
        self.tokens_out += 1
        if first:
            self.firsts.append(row.answer.first_seconds)

"""Count what the text batch does, for Prometheus and whoever else measures it."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from engine.backends.mixing.sequence import TextSequence

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Counters(Collector):
    def __init__(self, slots: int = 1) -> None:
        self.slots, self.busy = slots, 0
        self.tokens_in = self.tokens_out = 0
        self.tokens_known = 0  # of those of prompts, how many the prefix cache held
        about = "From a job's arrival at the worker to its place in the batch."
        name = "pastiche_queue_wait_seconds"
        self._waits = Histogram(name, about, buckets=SECONDS, registry=None)
        about = "From its place in the batch to its first token."
        name = "pastiche_first_token_seconds"
        self._firsts = Histogram(name, about, buckets=SECONDS, registry=None)

    def seated(self, row: "TextSequence") -> None:
        self.tokens_in += len(row.tokens)
        self.tokens_known += row.read
        if not row.written:
            self._waits.observe(time.monotonic() - row.waited)

    def wrote(self, row: "TextSequence", *, first: bool) -> None:
        self.tokens_out += 1
        if first:
            self._firsts.observe(row.answer.first_seconds)

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("pastiche_slots", "Rows of the batch.", self.slots)
        yield GaugeMetricFamily("pastiche_slots_busy", "Rows that are in use.", self.busy)
        for name, about, value in (
            ("pastiche_tokens_in", "Tokens of prompts.", self.tokens_in),
            ("pastiche_tokens_known", "Tokens of prompts that were known.", self.tokens_known),
            ("pastiche_tokens_out", "Tokens written.", self.tokens_out),
        ):
            yield CounterMetricFamily(name, about, value)
        yield from self._waits.collect()
        yield from self._firsts.collect()

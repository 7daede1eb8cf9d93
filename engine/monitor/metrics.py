"""What a model's process does, for Prometheus: jobs of every medium, and the text batch's own counts."""

import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.backends import Backend
from engine.backends.counters import Counters
from engine.events import Cancelled, Event, Failed, Finished
from engine.monitor.health import Health, showing
from engine.plan.job import Job
from engine.settings import Settings

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class BatchCollector(Collector):
    """Read the batch's counts when Prometheus asks."""

    def __init__(self, gauges: Counters, slots: int) -> None:
        self._gauges = gauges
        self._slots = slots
        options: dict[str, Any] = {"buckets": SECONDS, "registry": None}
        about = "From a job's arrival at the worker to its place in the batch."
        self._waits = Histogram("pastiche_queue_wait_seconds", about, **options)
        about = "From its place in the batch to its first token."
        self._firsts = Histogram("pastiche_first_token_seconds", about, **options)

    def collect(self) -> Iterator[Metric]:
        counts = self._gauges
        yield GaugeMetricFamily("pastiche_slots", "Rows of the batch.", self._slots)
        yield GaugeMetricFamily("pastiche_slots_busy", "Rows that are in use.", counts.busy)
        for name, about, value in (
            ("pastiche_tokens_in", "Tokens of prompts.", counts.tokens_in),
            ("pastiche_tokens_known", "Tokens of prompts that were known.", counts.tokens_known),
            ("pastiche_tokens_out", "Tokens written.", counts.tokens_out),
        ):
            yield CounterMetricFamily(name, about, value)
        for histogram, seconds in ((self._waits, counts.waits), (self._firsts, counts.firsts)):
            while seconds:
                histogram.observe(seconds.popleft())
            yield from histogram.collect()


class Counted:
    def __init__(self, backend: Backend, medium: str, registry: CollectorRegistry) -> None:
        self._backend = backend
        self._medium = medium
        self._registry = registry
        self.loaded = False
        about, labels = "Jobs that this worker has ended.", ("medium", "outcome")
        self._ended = Counter("pastiche_worker_jobs", about, labels, registry=registry)
        about, name = "From its arrival at the worker to its end.", "pastiche_worker_job_seconds"
        self._seconds = Histogram(name, about, ("medium",), buckets=SECONDS, registry=registry)

    @property
    def slots(self) -> int:
        return self._backend.slots

    async def load(self) -> None:
        await self._backend.load()
        gauges = getattr(self._backend, "gauges", None)
        if isinstance(gauges, Counters):
            self._registry.register(BatchCollector(gauges, self._backend.slots))
        self.loaded = True

    async def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        began = time.monotonic()
        outcome = "broken"
        try:
            async with aclosing(self._backend.generate(job, stop)) as events:
                async for event in events:
                    if isinstance(event, Finished | Failed | Cancelled):
                        outcome = type(event).__name__.lower()
                    yield event
        finally:
            self._ended.labels(self._medium, outcome).inc()
            self._seconds.labels(self._medium).observe(time.monotonic() - began)


@asynccontextmanager
async def showing_worker(
    settings: Settings, medium: str
) -> AsyncIterator[Callable[[Backend], Counted]]:
    """Show what a worker does on the settings' port; gives what wraps its backend."""
    registry = CollectorRegistry()
    backends: list[Counted] = []

    def count(backend: Backend) -> Counted:
        backends.append(Counted(backend, medium, registry))
        return backends[-1]

    async def model() -> str:
        return "" if any(b.loaded for b in backends) else "the model is being loaded"

    health = Health({"model": model})
    async with showing(health, registry, settings.metrics_host, settings.metrics_port or None):
        yield count

"""What a model's process does, for Prometheus: jobs of every medium, and the text batch's own counts."""

import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

from engine.backends import Backend
from engine.backends.counters import SECONDS, Counters
from engine.events import Cancelled, Event, Failed, Finished
from engine.monitor.health import Health, showing
from engine.plan.job import Job
from engine.settings import Settings


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
            self._registry.register(gauges)
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
async def counting(settings: Settings, backend: Backend, medium: str) -> AsyncIterator[Counted]:
    registry = CollectorRegistry()
    counted = Counted(backend, medium, registry)

    async def model() -> str:
        return "" if counted.loaded else "the model is being loaded"

    health = Health({"model": model})
    async with showing(health, registry, settings.metrics_host, settings.metrics_port or None):
        yield counted

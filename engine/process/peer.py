"""A process on a ledger that many share, on PostgreSQL, without owner or lock: it asks, or works."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from engine.engine import LocalEngine
from engine.errors import SetupError
from engine.ledger.ledger import Ledger
from engine.ledger.storage import make_ready
from engine.monitor.watchdog import watching
from engine.plan.cards import Registry, load_registry
from engine.plan.semantic import Semantic
from engine.process.services import open_ledger
from engine.queues.dispatcher import nobody
from engine.queues.postgres.queue import PostgresQueue
from engine.queues.postgres.worker_host import WorkerHost
from engine.settings import Settings
from engine.shutdown import Signals
from engine.workers.fingerprint import fingerprint_of

MEDIA = ("text", "image")

log = logging.getLogger(__name__)


@asynccontextmanager
async def sharing(
    settings: Settings, registry: Registry, ledger: Ledger, *, workers: bool, warm: tuple[str, ...]
) -> AsyncIterator[LocalEngine]:
    """Open the engine of one process among many; with `workers` it also has a worker host."""
    fingerprint = fingerprint_of(registry, settings)
    semantic = Semantic() if settings.routes_by_meaning else None
    async with watching():
        worker_host = (
            WorkerHost(settings, fingerprint, ledger, MEDIA, lazy=True) if workers else None
        )
        need = worker_host.need if worker_host else nobody
        queue = PostgresQueue(settings, fingerprint, ledger, need)
        try:
            if worker_host:
                await worker_host.start(warm)
            await queue.start()
            yield LocalEngine(registry, ledger, queue, settings.max_length, semantic)
        finally:
            await asyncio.gather(queue.close(), *([worker_host.close()] if worker_host else []))


async def work(settings: Settings, media: Iterable[str]) -> None:
    """Host workers until SIGTERM or SIGINT: then end what runs, and leave. Raises SetupError."""
    registry = load_registry(settings.expert_roots, settings.profile)
    fingerprint = fingerprint_of(registry, settings)
    for medium in media:
        if not fingerprint.of_medium(medium):
            raise SetupError(f"No expert of the profile {settings.profile!r} makes {medium}s.")
    stop = asyncio.Event()
    with Signals(settings.leave_seconds) as signals:
        await asyncio.to_thread(make_ready, settings)
        async with open_ledger(settings) as ledger, watching():
            worker_host = WorkerHost(settings, fingerprint, ledger, media)
            signals.call(stop.set)
            await worker_host.start()
            try:
                await stop.wait()
            finally:
                await worker_host.close(settings.leave_seconds)

"""Both queues as a test drives them: an engine without workers of its own, and workers by hand."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from following import events_of

from engine.engine import LocalEngine
from engine.events import Event, Finished, Started
from engine.ledger.ledger import Ledger
from engine.ledger.storage import on_server
from engine.plan.cards import Registry
from engine.plan.job import Job
from engine.process.owner import owning
from engine.process.peer import MEDIA
from engine.queues.postgres.queue import PostgresQueue
from engine.queues.postgres.worker_host import WorkerHost
from engine.settings import Settings
from engine.workers.fingerprint import fingerprint_of
from engine.workers.protocol import Hello, Link, Run, Serving, connect


@asynccontextmanager
async def queueing(
    settings: Settings, registry: Registry, ledger: Ledger
) -> AsyncIterator[LocalEngine]:
    """An engine on the queue that the settings name; its workers are the test's."""
    if not on_server(settings):
        async with owning(settings, registry, ledger, workers=False, warm=()) as made:
            yield made
        return
    async with asking(settings, registry, ledger) as core, staffed(settings, registry, ledger):
        yield core


@asynccontextmanager
async def asking(
    settings: Settings, registry: Registry, ledger: Ledger
) -> AsyncIterator[LocalEngine]:
    """A process on Postgres that asks, and works not."""
    queue = PostgresQueue(settings, fingerprint_of(registry, settings), ledger)
    await queue.start()
    try:
        yield LocalEngine(registry, ledger, queue, max_length=settings.max_length)
    finally:
        await queue.close()


@asynccontextmanager
async def staffed(
    settings: Settings, registry: Registry, ledger: Ledger
) -> AsyncIterator[WorkerHost]:
    """A worker host on PostgreSQL whose workers are the test's."""
    fingerprint = fingerprint_of(registry, settings)
    worker_host = WorkerHost(settings, fingerprint, ledger, MEDIA)
    await worker_host.start(children=False)
    try:
        yield worker_host
    finally:
        await worker_host.close()


def socket_of(settings: Settings) -> Path:
    """Where workers connect."""
    return next(settings.runtime.glob("s-*.sock"), settings.socket)


@asynccontextmanager
async def hand_worker(
    settings: Settings, slots: int = 1, socket: Path | None = None
) -> AsyncIterator[Link]:
    """A connected, ready worker that does only what the test makes it do."""
    link = await connect(str(socket or socket_of(settings)))
    try:
        await link.send(Hello(medium="text", pid=os.getpid()))
        await link.send(Serving(slots=slots))
        yield link
    finally:
        await link.close()


async def next_run(link: Link, *, begin: bool = True, seconds: float = 200) -> Job:
    """The next job that the worker is given; it says that it has begun."""
    message = await asyncio.wait_for(link.receive(), seconds)
    assert isinstance(message, Run), message
    if begin:
        await link.send(Started(job=message.job.id, attempt=message.job.attempt))
    return message.job


def finished(job: Job, text: str = "done") -> Finished:
    """An answer."""
    return Finished(
        job=job.id,
        attempt=job.attempt,
        text=text,
        tokens_in=1,
        tokens_out=1,
        first_token_seconds=0.0,
        seconds=0.1,
    )


class Asked:
    """A request on its way: its events are gathered as they come."""

    def __init__(self, engine: LocalEngine, request, events=None) -> None:
        self.events: list = []
        self.accepted = asyncio.Event()
        self._task = asyncio.create_task(self._gather(events or events_of(engine, request)))

    async def _gather(self, events) -> None:
        async for event in events:
            self.events.append(event)
            self.accepted.set()

    async def end(self):
        """The final event."""
        await asyncio.wait_for(self._task, 200)
        return self.events[-1]

    def leave(self) -> None:
        """Listen no more."""
        self._task.cancel()


async def told(
    asked: Asked, kind: type, which: Callable[[Event], bool] = lambda _event: True
) -> Event:
    """Wait until an event of that kind has come."""
    async with asyncio.timeout(200):
        while True:
            for event in asked.events:
                if isinstance(event, kind) and which(event):
                    return event
            await asyncio.sleep(0.01)

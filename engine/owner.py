"""The first process on a data folder: it holds the lock, the queue, the socket, and the workers.

Later processes find the socket and attach to it; workers connect to the same one.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import IO

from engine.engine import LocalEngine
from engine.errors import AskerError, LedgerError, PasticheError
from engine.ledger import Ledger
from engine.queues.embedded import EmbeddedQueue
from engine.registry import Registry
from engine.settings import Settings, make_runtime
from engine.supervisor import Supervisor
from engine.wire import (
    MAX_LINE,
    Ask,
    Cancel,
    Delivered,
    Done,
    Follow,
    GetLast,
    GetStatus,
    Hello,
    Link,
    Message,
    Refused,
    Told,
)

log = logging.getLogger(__name__)


def take_lock(home: Path) -> IO[str] | None:
    """The lock on a data folder, or None when another process owns it. Closing it lets it go."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = (home / "owner.lock").open("a+", encoding="ascii")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


@asynccontextmanager
async def owning(
    settings: Settings,
    registry: Registry,
    ledger: Ledger,
    *,
    workers: bool = True,
    warm: tuple[str, ...] = (),
) -> AsyncIterator[LocalEngine]:
    """The owner's engine, with its socket open and its workers on call, those of `warm` at once."""
    supervisor = Supervisor(settings) if workers else None
    queue = EmbeddedQueue(
        ledger,
        max_waiting=settings.max_waiting,
        need_worker=supervisor.need if supervisor else _nobody,
        worker_ready=supervisor.ready if supervisor else _nobody,
    )
    engine = LocalEngine(registry, ledger, queue, max_length=settings.max_length)
    make_runtime(settings)
    with suppress(FileNotFoundError):
        settings.socket.unlink()
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(_serve(Link(reader, writer), engine, queue))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_unix_server(accept, str(settings.socket), limit=MAX_LINE)
    try:
        if supervisor:
            supervisor.start(queue.unfit)
            for medium in warm:
                supervisor.need(medium)
        replayed = await queue.start()
        log.info("owner started", extra={"replayed": replayed})
        yield engine
    finally:
        server.close()
        with suppress(FileNotFoundError):
            settings.socket.unlink()
        await queue.close()
        if supervisor:
            await supervisor.close()
        for task in set(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def _nobody(_medium: str) -> None:
    """Workers are somebody else's to start."""


async def _serve(link: Link, engine: LocalEngine, queue: EmbeddedQueue) -> None:
    """One connection: a worker for as long as it lives, or one request of a client."""
    try:
        first = await link.receive()
        if isinstance(first, Hello):
            await queue.serve(first, link)
        elif first is not None:
            await _answer(first, link, engine)
    except (AskerError, LedgerError) as error:
        link.post(Refused(error=type(error).__name__, message=str(error)))
    except ConnectionError:
        pass
    except PasticheError:
        log.exception("a connection failed")
    finally:
        await link.close()


async def _answer(message: Message, link: Link, engine: LocalEngine) -> None:
    match message:
        case Ask(request=request):
            async for event in engine.ask(request):
                await link.send(event)
        case Follow(job=job):
            async for event in engine.follow(job):
                await link.send(event)
        case Cancel(job=job):
            await link.send(Done(ok=await engine.cancel(job)))
        case Delivered(job=job):
            await engine.delivered(job)
            await link.send(Done(ok=True))
        case GetStatus():
            await link.send(Told(status=await engine.status()))
        case GetLast(platform=platform, asker=asker, place=place):
            await link.send(Told(answer=await engine.last(platform, asker, place)))
        case _:
            log.warning("a client sent what only workers send")

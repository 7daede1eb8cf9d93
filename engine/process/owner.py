"""The first process on a data folder: it holds the queue, the socket, and the workers.

Later processes find the socket and attach to it; workers connect to the same one.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress

from engine.engine import LocalEngine
from engine.errors import KIND_SENTENCE, PasticheError
from engine.ledger.ledger import Ledger
from engine.plan.cards import Registry
from engine.queues.embedded import EmbeddedQueue
from engine.settings import Settings, make_runtime
from engine.shutdown import end
from engine.workers.fingerprint import fingerprint_of
from engine.workers.protocol import MAX_LINE, Call, Hello, Link, Refused, Returned
from engine.workers.supervisor import Supervisor

log = logging.getLogger(__name__)


@asynccontextmanager
async def owning(
    settings: Settings,
    registry: Registry,
    ledger: Ledger,
    *,
    workers: bool = True,
    warm: tuple[str, ...] = (),
) -> AsyncIterator[LocalEngine]:
    """Open the owner's engine and socket; start the workers of the media `warm`, others on call."""
    supervisor = Supervisor(settings)
    queue = EmbeddedQueue(
        ledger,
        max_waiting=settings.max_waiting,
        need_worker=supervisor.need,
        worker_ready=supervisor.ready,
        end_worker=supervisor.kill,
        stuck_after=settings.stuck_after,
        fingerprint=fingerprint_of(registry, settings),
    )
    core = LocalEngine(
        registry, ledger, queue, max_length=settings.max_length, semantic=settings.semantic()
    )
    swept = await ledger.sweep() if ledger.media.swept_at_start else 0
    replayed = await queue.start()  # before anybody can ask, so that no job is taken up twice
    server, connections = await _listen(settings, core, queue)
    try:
        if workers:
            supervisor.start(queue.unfit)
            for medium in warm:
                supervisor.need(medium)
        log.info("owner started", extra={"replayed": replayed, "swept": swept})
        yield core
    finally:
        server.close()
        with suppress(FileNotFoundError):
            settings.socket.unlink()
        queue.drain()
        await supervisor.close()
        await end(*connections)
        await queue.close()


async def _listen(
    settings: Settings, core: LocalEngine, queue: EmbeddedQueue
) -> tuple[asyncio.Server, set[asyncio.Task[None]]]:
    """Open the socket; gives it and the set of its connections' tasks."""
    make_runtime(settings)
    with suppress(FileNotFoundError):
        settings.socket.unlink()
    connections: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(_serve(Link(reader, writer), core, queue))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_unix_server(accept, str(settings.socket), limit=MAX_LINE)
    return server, connections


async def _serve(link: Link, core: LocalEngine, queue: EmbeddedQueue) -> None:
    """Serve a worker for as long as it lives, or answer one request of a client."""
    try:
        first = await link.receive()
        if isinstance(first, Hello):
            await queue.serve(first, link)
        elif isinstance(first, Call):
            await _answer(first, link, core)
        elif first is not None:
            log.warning("a client sent what only workers send")
    except PasticheError as error:
        log.info("a connection was refused", extra={"why": type(error).__name__})
        link.post(Refused(error=type(error).__name__, message=str(error)))
    except ConnectionError:
        log.debug("a connection ended early")
    except Exception:
        log.exception("a connection failed")
        link.post(Refused(error="OurError", message=KIND_SENTENCE))
    finally:
        await link.close()


async def _answer(call: Call, link: Link, core: LocalEngine) -> None:
    if call.method == "follow":
        async with aclosing(core.follow(*call.arguments)) as events:
            async for event in events:
                await link.send(event)
        return
    value = None
    if call.request is not None:
        await core.ask(await asyncio.to_thread(core.plan, call.request, *call.arguments))
    else:
        value = await getattr(core, call.method)(*call.arguments)
    await link.send(Returned(value=value))

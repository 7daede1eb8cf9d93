"""The first process on a data folder: it holds the queue, the workers, and the socket to which workers
and later processes connect."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from functools import partial

from engine.engine import LocalEngine
from engine.ledger.ledger import Ledger
from engine.plan.cards import Registry
from engine.plan.job import Request
from engine.plan.semantic import Semantic
from engine.queues.dispatcher import Dispatcher
from engine.queues.embedded import EmbeddedQueue
from engine.settings import Settings, make_runtime
from engine.workers.fingerprint import ServingFingerprint, fingerprint_of
from engine.workers.protocol import Call, Hello, Link, Returned, Server
from engine.workers.supervisor import Supervisor

log = logging.getLogger(__name__)


@asynccontextmanager
async def owning(
    settings: Settings, registry: Registry, ledger: Ledger, *, workers: bool, warm: tuple[str, ...]
) -> AsyncIterator[LocalEngine]:
    """Open the owner's engine and socket; start the workers of the media `warm`, others on call."""
    supervisor = Supervisor(settings)
    dispatcher = Dispatcher(
        ledger,
        need_worker=supervisor.need,
        worker_ready=supervisor.ready,
        end_worker=supervisor.kill,
        stuck_after=settings.stuck_after,
        fingerprints=partial(_accepted, registry, settings),
    )
    queue = EmbeddedQueue(ledger, max_waiting=settings.max_waiting, dispatcher=dispatcher)
    semantic = Semantic() if settings.routes_by_meaning else None
    core = LocalEngine(registry, ledger, queue, settings.max_length, semantic)
    swept = 0 if settings.media_folder else await ledger.sweep()  # another's may lie there, too
    replayed = await queue.start()  # before anybody can ask, so that no job is taken up twice
    server = Server(settings.socket, partial(_serve, core, queue))
    make_runtime(settings)
    await server.open()
    try:
        if workers:
            supervisor.start(dispatcher.unfit)
            for medium in warm:
                supervisor.need(medium)
        log.info("owner started", extra={"replayed": replayed, "swept": swept})
        yield core
    finally:
        server.shut()
        queue.drain()
        await supervisor.close()
        await server.close()
        await queue.close()


def _accepted(registry: Registry, settings: Settings) -> list[ServingFingerprint]:
    """Name what a worker may serve with: the cards that are known here, these with what came since, and
    those on disk, where one is gone or is not taken in, as long as no known one answers otherwise."""
    before, known = fingerprint_of(registry, settings), fingerprint_of(registry.learn(), settings)
    now = fingerprint_of(Registry.load(registry.roots, registry.profile), settings)
    return [before, known, *([now] if now.agrees(known) else [])]


async def _serve(core: LocalEngine, queue: EmbeddedQueue, link: Link) -> None:
    match await link.receive():
        case Hello() as hello:
            await queue.dispatcher.serve(hello, link)
        case Call(method="follow", arguments=arguments):
            async with aclosing(core.follow(*arguments)) as events:
                async for event in events:
                    await link.send(event)
        case Call(request=Request() as request, arguments=arguments):
            await core.ask(await asyncio.to_thread(core.plan, request, *arguments))
            await link.send(Returned(value=None))
        case Call(method=method, arguments=arguments):
            await link.send(Returned(value=await getattr(core, method)(*arguments)))
        case message if message is not None:
            log.warning("a client sent what only workers send")

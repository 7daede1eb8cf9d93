"""Building the engine: own the data folder if nobody does, else attach to whoever does; on a database
server there is nothing to own (engine.process.peer)."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import IO, Any, Self

from engine import Engine, Method
from engine.errors import OwnerGoneError, SetupError
from engine.events import Event
from engine.ledger.ledger import Ledger
from engine.ledger.storage import make_ready, on_server
from engine.lock import LOCK, take_lock
from engine.plan.cards import Registry, load_registry
from engine.plan.job import Request
from engine.plan.plan import Plan
from engine.process.client import ClientEngine
from engine.settings import Settings

ATTACH_SECONDS = 10.0  # an owner that holds the lock has this long to open its socket
ATTACH_PAUSE = 0.05
REOPEN_PAUSES = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0)  # one owner after the other goes away

OpenLedger = Callable[[], AbstractAsyncContextManager[Ledger]]


@asynccontextmanager
async def open_engine(
    settings: Settings,
    *,
    workers: bool = True,
    warm: tuple[str, ...] = (),
    synced: bool = True,
    opened: OpenLedger | None = None,
    registry: Registry | None = None,
) -> AsyncIterator[Engine]:
    """Open the engine of this data folder; an owner starts workers of the media `warm` at once, and none
    at all without `workers`. Not `synced`, a power cut may cost what was accepted last: for simulations.
    `opened` gives the process's ledger, once its schema is the newest; without it it has its own, as
    without `registry`."""
    registry = registry or cards_of(settings)
    place = None if on_server(settings) else await _own_or_attach(settings, registry)
    if isinstance(place, ClientEngine):
        yield place
        return
    from engine.process.services import open_ledger  # who attaches needs no ledger

    async with AsyncExitStack() as stack:
        if place is not None:
            stack.enter_context(place)
        await asyncio.to_thread(make_ready, settings)
        opening = opened() if opened else open_ledger(settings, synced=synced)
        ledger = await stack.enter_async_context(opening)
        if place is None:
            from engine.process.peer import sharing as making  # its libraries are slow to import
        else:
            from engine.process.owner import owning as making
        made = making(settings, registry, ledger, workers=workers, warm=warm)
        yield await stack.enter_async_context(made)


def cards_of(settings: Settings) -> Registry:
    """Load the cards; some may come later, but on a database server, whose queues are named by them."""
    learns = not on_server(settings)
    return load_registry(settings.expert_roots, settings.profile, learns=learns)


async def _own_or_attach(settings: Settings, registry: Registry) -> IO[str] | ClientEngine:
    """Take the lock if it is free, else attach to its owner, who may be just starting or leaving."""
    attached = ClientEngine(settings, registry)
    try:
        async with asyncio.timeout(ATTACH_SECONDS):
            while True:
                lock = take_lock(settings.home, settings.socket)
                if lock is not None:
                    return lock
                try:
                    await attached.status()
                    return attached
                except OwnerGoneError:
                    await asyncio.sleep(ATTACH_PAUSE)
    except TimeoutError as error:
        raise SetupError(
            f"Another process owns {settings.home} but does not answer. Its number stands in "
            f"{settings.home / LOCK}; end it, then try again."
        ) from error
    except OSError as error:
        raise SetupError(
            f"The data folder {settings.home} cannot be written ({error.strerror}). Free some space, "
            "mend its permissions, or name another with PASTICHE_HOME."
        ) from error


class ReconnectingEngine(Engine):
    """Go on with another owner when one leaves: whoever owns the data folder next finishes the job."""

    def __init__(
        self, settings: Settings, *, warm: tuple[str, ...] = (), workers: bool = True
    ) -> None:
        self._settings = settings
        self.registry = cards_of(settings)
        given = partial(open_engine, settings, opened=self.ledger, registry=self.registry)
        self._open = partial(given, workers=workers, warm=warm)
        self._ledger: Ledger | None = None
        self._stack = AsyncExitStack()
        self._outer = AsyncExitStack()  # what outlives an engine
        self._reopening = asyncio.Lock()

    async def __aenter__(self) -> Self:
        try:
            self._core = await self._stack.enter_async_context(self._open())
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._stack.aclose()
        finally:
            await self._outer.aclose()

    @asynccontextmanager
    async def ledger(self) -> AsyncIterator[Ledger]:
        """Give the one ledger of this process, which its engines and services share."""
        if self._ledger is None:
            from engine.process.services import open_ledger

            self._ledger = await self._outer.enter_async_context(open_ledger(self._settings))
        yield self._ledger

    async def _reopen(self, gone: Engine, tries: int) -> None:
        """Open the next engine once, whoever notices. Raises OwnerGoneError after too many."""
        if tries >= len(REOPEN_PAUSES):
            raise OwnerGoneError
        await asyncio.sleep(REOPEN_PAUSES[tries])
        async with self._reopening:
            if self._core is gone:
                await self._stack.aclose()
                self._core = await self._stack.enter_async_context(self._open())

    def plan(self, request: Request, job: str = "") -> Plan:
        return self._core.plan(request, job)

    async def call(self, method: Method, *arguments: Any) -> Any:
        tries = 0
        while True:
            core = self._core
            try:
                return await getattr(core, method)(*arguments)
            except OwnerGoneError:
                await self._reopen(core, tries)
                tries += 1

    async def follow(self, job: str) -> AsyncGenerator[Event]:
        tries = 0
        while True:
            core = self._core
            try:
                async with aclosing(core.follow(job)) as events:
                    async for event in events:
                        tries = 0
                        yield event
                return
            except OwnerGoneError:
                await self._reopen(core, tries)
                tries += 1

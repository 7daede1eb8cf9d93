"""Building the engine: own the data folder if nobody does, else attach to whoever does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import IO, Self, TypeVar

from engine import Engine
from engine.attached import AttachedEngine
from engine.database import open_database, upgrade
from engine.errors import OwnerGoneError, SetupError
from engine.events import Event
from engine.jobs import Answer, Request, Status
from engine.ledger import Ledger
from engine.owner import owning, take_lock
from engine.registry import Registry, load_registry
from engine.settings import Settings

ATTACH_SECONDS = 10.0  # an owner that holds the lock has this long to open its socket
ATTACH_PAUSE = 0.05

Result = TypeVar("Result")


@asynccontextmanager
async def open_engine(
    settings: Settings, *, workers: bool = True, warm: tuple[str, ...] = ()
) -> AsyncIterator[Engine]:
    """The engine of this data folder. `workers=False` starts none (somebody else runs them).

    An owner starts the workers of the media `warm` before anybody asks.
    """
    registry = load_registry(settings.expert_roots, settings.profile)
    place = await _own_or_attach(settings, registry)
    if isinstance(place, AttachedEngine):
        yield place
        return
    with place:
        await asyncio.to_thread(upgrade, settings)
        ledger = Ledger(await open_database(settings))
        try:
            async with owning(settings, registry, ledger, workers=workers, warm=warm) as engine:
                yield engine
        finally:
            await ledger.close()


async def _own_or_attach(settings: Settings, registry: Registry) -> IO[str] | AttachedEngine:
    """The lock if it is free, else an engine at its owner, who may be just starting or leaving."""
    engine = AttachedEngine(settings, registry)
    deadline = asyncio.get_running_loop().time() + ATTACH_SECONDS
    while True:
        try:
            lock = take_lock(settings.home)
        except OSError as error:
            raise SetupError(
                f"The data folder {settings.home} cannot be written ({error.strerror}). Free some "
                "space, mend its permissions, or name another with PASTICHE_HOME."
            ) from error
        if lock is not None:
            return lock
        try:
            await engine.status()
            return engine
        except OwnerGoneError as error:
            if asyncio.get_running_loop().time() > deadline:
                raise SetupError(
                    f"Another process owns {settings.home} but does not answer. Its number stands in "
                    f"{settings.home / 'owner.lock'}; end it, then try again."
                ) from error
            await asyncio.sleep(ATTACH_PAUSE)


class LastingEngine:
    """Wraps an engine whose owner may leave: then it opens the data folder anew and goes on there.

    The job is in the ledger, so whoever owns the folder next finishes it; often that is this process.
    """

    def __init__(self, settings: Settings, *, warm: tuple[str, ...] = ()) -> None:
        self._settings = settings
        self._warm = warm
        self._stack = AsyncExitStack()
        self._reopening = asyncio.Lock()
        self.registry = load_registry(settings.expert_roots, settings.profile)

    async def __aenter__(self) -> Self:
        self._engine = await self._stack.enter_async_context(self._open())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    def _open(self) -> AbstractAsyncContextManager[Engine]:
        return open_engine(self._settings, warm=self._warm)

    async def _reopen(self, gone: Engine) -> Engine:
        """The engine that takes the place of one whose owner has gone; opened once, whoever asks."""
        async with self._reopening:
            if self._engine is gone:
                await self._stack.aclose()
                self._engine = await self._stack.enter_async_context(self._open())
        return self._engine

    async def _call(self, call: Callable[[Engine], Awaitable[Result]]) -> Result:
        engine = self._engine
        try:
            return await call(engine)
        except OwnerGoneError:
            return await call(await self._reopen(engine))

    async def ask(self, request: Request) -> AsyncIterator[Event]:
        """See engine.Engine."""
        engine = self._engine
        try:
            async for event in engine.ask(request):
                yield event
        except OwnerGoneError as gone:
            engine = await self._reopen(engine)
            async for event in engine.follow(gone.job) if gone.job else engine.ask(request):
                yield event

    async def follow(self, job: str) -> AsyncIterator[Event]:
        """See engine.Engine."""
        engine = self._engine
        try:
            async for event in engine.follow(job):
                yield event
        except OwnerGoneError:
            async for event in (await self._reopen(engine)).follow(job):
                yield event

    async def cancel(self, job: str) -> bool:
        """See engine.Engine."""
        return await self._call(lambda engine: engine.cancel(job))

    async def status(self) -> Status:
        """See engine.Engine."""
        return await self._call(lambda engine: engine.status())

    async def last(self, platform: str, asker: str, place: str) -> Answer | None:
        """See engine.Engine."""
        return await self._call(lambda engine: engine.last(platform, asker, place))

    async def delivered(self, job: str) -> None:
        """See engine.Engine."""
        await self._call(lambda engine: engine.delivered(job))

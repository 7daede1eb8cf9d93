"""What a process says of itself over HTTP: /healthz (it lives), /readyz (it serves), /metrics.

For a supervisor and a monitor, on this machine unless the operator says otherwise: nothing here names
an asker, a place or a secret, but there is no lock on it either.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from engine.errors import PasticheError
from engine.monitor.watchdog import Watchdog, watching

Check = Callable[[], Awaitable[str]]
Told = TypeVar("Told")

FRESH_SECONDS = 2.0  # an answer of a check holds so long, however often it is asked for
SLOW_SECONDS = 3.0  # a check that takes longer has failed
LEAVE_SECONDS = 2.0  # a reader of a page has this long when the program ends

log = logging.getLogger(__name__)


class Health:
    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = dict(checks)
        self._known: dict[str, str] = {}
        self._at = float("-inf")
        self._turn = asyncio.Lock()

    async def troubles(self) -> dict[str, str]:
        """Say by each check's name what is wrong there, "" for nothing; a moment old at most."""
        async with self._turn:
            if time.monotonic() - self._at > FRESH_SECONDS:
                names, checks = self._checks.keys(), self._checks.values()
                said = await asyncio.gather(*(_asked(check) for check in checks))
                self._known = dict(zip(names, said, strict=True))
                self._at = time.monotonic()
        return dict(self._known)


async def _asked(check: Check) -> str:
    try:
        async with asyncio.timeout(SLOW_SECONDS):
            return await check()
    except TimeoutError:
        return f"no answer in {SLOW_SECONDS:.0f} s"
    except PasticheError as error:
        return str(error)
    except Exception as error:
        log.exception("a check failed")
        return type(error).__name__


Refresh = Callable[[], Coroutine[Any, Any, None]]


@asynccontextmanager
async def showing(
    health: Health,
    registry: CollectorRegistry,
    host: str,
    port: int | None,
    refresh: Refresh | None = None,
) -> AsyncIterator[int]:
    """Watch the running loop, and serve its pages inside the block; gives the port, or 0 for one that is
    taken.

    No `port` means not shown, 0 takes a free one; `refresh` is awaited before the metrics are read. The
    pages have a thread and a loop of their own, so that they answer while ours stands still.
    """
    async with watching() as watchdog:
        if port is None:
            yield 0
            return
        pages = _Pages(health, registry, refresh, watchdog, asyncio.get_running_loop())
        over = asyncio.Event()
        taken: Future[tuple[int, asyncio.AbstractEventLoop]] = Future()
        serving = asyncio.create_task(
            asyncio.to_thread(asyncio.run, pages.serve(host, port, taken, over))
        )
        async with asyncio.timeout(SLOW_SECONDS):
            number, loop = await asyncio.wrap_future(taken)
        try:
            yield number
        finally:
            loop.call_soon_threadsafe(over.set)
            await serving


@dataclass(frozen=True, slots=True)
class _Pages:
    """Serve three pages on a loop of their own; what they tell comes from the program's loop."""

    health: Health
    registry: CollectorRegistry
    refresh: Refresh | None
    watchdog: Watchdog
    main: asyncio.AbstractEventLoop

    async def serve(
        self,
        host: str,
        port: int,
        taken: "Future[tuple[int, asyncio.AbstractEventLoop]]",
        over: asyncio.Event,
    ) -> None:
        application = web.Application()
        application.router.add_get("/healthz", self._alive)
        application.router.add_get("/readyz", self._ready)
        application.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=LEAVE_SECONDS)
        await runner.setup()
        number = 0
        try:
            await web.TCPSite(runner, host, port).start()
            number = int(runner.addresses[0][1])
        except OSError as error:
            extra = {"port": port, "reason": error.strerror}
            log.warning("metrics and health are not shown", extra=extra)
        taken.set_result((number, asyncio.get_running_loop()))
        try:
            await over.wait()
        finally:
            await runner.cleanup()

    async def _from_main(self, awaited: Coroutine[Any, Any, Told]) -> Told:
        """Ask the program's loop. Raises TimeoutError where it does not answer in time."""
        future = asyncio.run_coroutine_threadsafe(awaited, self.main)
        async with asyncio.timeout(SLOW_SECONDS + 1):
            return await asyncio.wrap_future(future)

    async def _alive(self, _request: web.Request) -> web.Response:
        if seconds := self.watchdog.stalled:
            return web.Response(text=f"stalled for {seconds:.0f} s\n", status=503)
        return web.Response(text="alive\n")

    async def _ready(self, _request: web.Request) -> web.Response:
        try:
            troubles = await self._from_main(self.health.troubles())
        except TimeoutError:
            troubles = {"loop": f"no answer in {SLOW_SECONDS:.0f} s"}
        sound = not any(troubles.values())
        told = {name: why or "ok" for name, why in troubles.items()}
        return web.json_response({"ready": sound, "checks": told}, status=200 if sound else 503)

    async def _metrics(self, _request: web.Request) -> web.Response:
        try:
            if self.refresh:
                await self._from_main(self.refresh())
        except TimeoutError:  # the figures would be those of before
            return web.Response(text="the loop does not answer\n", status=503)
        text = await asyncio.to_thread(generate_latest, self.registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

"""What a process says of itself over HTTP: /healthz (it lives), /readyz (it serves), /metrics.

For a supervisor and a monitor, on this machine unless the operator says otherwise: nothing here names
an asker, a place or a secret, but there is no lock on it either.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from engine.errors import PasticheError

Check = Callable[[], Awaitable[str]]

FRESH_SECONDS = 2.0  # an answer of a check holds so long, however often it is asked for
SLOW_SECONDS = 3.0  # a check that takes longer has failed

log = logging.getLogger(__name__)


class Health:
    """Checks by name; each says why not, or nothing when all is well."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        self._checks = dict(checks)
        self._known: dict[str, str] = {}
        self._at = float("-inf")
        self._turn = asyncio.Lock()

    async def troubles(self) -> dict[str, str]:
        """Every check's name and what is wrong there, "" for nothing; a moment old at most."""
        async with self._turn:
            if time.monotonic() - self._at > FRESH_SECONDS:
                names, checks = self._checks.keys(), self._checks.values()
                said = await asyncio.gather(*(_asked(check) for check in checks))
                self._known = dict(zip(names, said, strict=True))
                self._at = time.monotonic()
        return dict(self._known)

    async def ready(self) -> bool:
        """Whether to send it work."""
        return not any((await self.troubles()).values())


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


Refresh = Callable[[], Awaitable[None]]


async def _nothing() -> None:
    """The registry is always up to date."""


@asynccontextmanager
async def showing(
    health: Health,
    registry: CollectorRegistry,
    host: str,
    port: int | None,
    refresh: Refresh = _nothing,
) -> AsyncIterator[int]:
    """Show it for as long as the block runs; gives the port, 0 when nothing is shown.

    No `port` means off, 0 takes a free one. A port that is taken is logged and no error. `refresh` is
    awaited before the metrics are read.
    """
    if port is None:
        yield 0
        return
    runner = web.AppRunner(_application(health, registry, refresh), access_log=None)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
            taken = int(runner.addresses[0][1])
        except OSError as error:
            extra = {"port": port, "reason": error.strerror}
            log.warning("metrics and health are not shown", extra=extra)
            taken = 0
        yield taken
    finally:
        await runner.cleanup()


def _application(health: Health, registry: CollectorRegistry, refresh: Refresh) -> web.Application:
    async def alive(_request: web.Request) -> web.Response:
        return web.Response(text="alive\n")

    async def ready(_request: web.Request) -> web.Response:
        troubles = await health.troubles()
        sound = not any(troubles.values())
        told = {name: why or "ok" for name, why in troubles.items()}
        return web.json_response({"ready": sound, "checks": told}, status=200 if sound else 503)

    async def metrics(_request: web.Request) -> web.Response:
        await refresh()
        text = await asyncio.to_thread(generate_latest, registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.router.add_get("/healthz", alive)
    application.router.add_get("/readyz", ready)
    application.router.add_get("/metrics", metrics)
    return application

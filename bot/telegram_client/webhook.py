"""The webhook: Telegram brings updates to an address of ours, each with a secret in its header."""

import asyncio
import hmac
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from pydantic import SecretStr
from telegram.error import BadRequest

from bot.telegram_client.api import ALLOWED, Api
from engine.errors import SetupError

HEADER = "X-Telegram-Bot-Api-Secret-Token"
MAX_BYTES = 1_000_000
CONNECTIONS = 40

_SECRET = re.compile(r"[A-Za-z0-9_-]{1,256}")
Take = Callable[[list[Any]], Awaitable[None]]


def checked_secret(secret: SecretStr | None) -> str:
    value = secret.get_secret_value() if secret else ""
    if not _SECRET.fullmatch(value):
        raise SetupError(
            "TELEGRAM_WEBHOOK_URL needs a TELEGRAM_WEBHOOK_SECRET of 1 to 256 letters, digits, _ and -, "
            "so that nobody else can bring updates. For example: openssl rand -hex 32"
        )
    return value


async def listen(api: Api, take: Take, url: str, secret: str, address: str) -> None:
    """Listen until cancelled. `url` is what Telegram calls, `address` the host:port where we listen.

    An update is answered with 200 once it is taken in; until then Telegram brings it again.
    Raises SetupError for an address that cannot be had.
    """
    async with _served(take, secret, address):
        try:
            await api.set_webhook(
                url, secret_token=secret, allowed_updates=ALLOWED, max_connections=CONNECTIONS
            )
        except BadRequest as error:
            raise SetupError(
                f"Telegram refuses the webhook: {error}. TELEGRAM_WEBHOOK_URL must be an https:// "
                "address that Telegram can reach, on port 443, 80, 88 or 8443."
            ) from error
        await asyncio.Event().wait()


@asynccontextmanager
async def _served(take: Take, secret: str, address: str) -> AsyncIterator[None]:
    async def serve(request: web.Request) -> web.Response:
        given = request.headers.get(HEADER, "")
        if not hmac.compare_digest(given.encode(errors="surrogateescape"), secret.encode()):
            return web.Response(status=403)
        try:
            update = json.loads(await request.read())
        except (ValueError, RecursionError):
            return web.Response(status=400)
        await take([update])
        return web.Response()

    app = web.Application(client_max_size=MAX_BYTES)
    app.router.add_post("/{path:.*}", serve)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        host, _, port = address.rpartition(":")
        try:
            await web.TCPSite(runner, host or "127.0.0.1", int(port)).start()
        except (OSError, ValueError) as error:
            raise SetupError(
                f"The webhook cannot listen on {address!r}. Set TELEGRAM_WEBHOOK_LISTEN to a free "
                "host:port, for example 127.0.0.1:8443."
            ) from error
        yield
    finally:
        await runner.cleanup()

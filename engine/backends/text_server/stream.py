"""Listening to a text server without losing sight of a cancel."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from engine.shutdown import end

STOP_SECONDS = 0.05  # how soon a cancel is noticed while the server is silent


async def until(stream: AsyncIterator[Any], stop: threading.Event) -> AsyncGenerator[Any]:
    """Give the stream's pieces until `stop` is set, noticed even while nothing comes."""
    pieces = aiter(stream)
    while not stop.is_set():
        coming = asyncio.ensure_future(anext(pieces))
        try:
            while not coming.done() and not stop.is_set():
                await asyncio.wait({coming}, timeout=STOP_SECONDS)
            if not coming.done():
                return
            yield coming.result()
        except StopAsyncIteration:
            return
        finally:
            await end(coming)


async def pause(seconds: float, stop: threading.Event) -> None:
    until = time.monotonic() + seconds
    while not stop.is_set() and (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, STOP_SECONDS))

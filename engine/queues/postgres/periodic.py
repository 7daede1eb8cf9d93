"""Duties that come back every so often, whatever fails meanwhile."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from engine.errors import LedgerError
from engine.shutdown import pause, wanted

log = logging.getLogger(__name__)


def periodic(
    name: str,
    work: Callable[[], Awaitable[object]],
    seconds: float,
    wake: asyncio.Event | None = None,
) -> asyncio.Task[None]:
    """Do it now, every `seconds`, and whenever `wake` is set, until the task is cancelled."""
    news = wake or asyncio.Event()

    async def again_and_again() -> None:
        while wanted():
            try:
                await work()
            except Exception as error:
                if isinstance(error, LedgerError):
                    log.warning("%s: the ledger refuses", name, extra={"why": str(error)})
                else:
                    log.exception("%s failed", name)
                await asyncio.sleep(seconds)
                continue
            await pause(news, seconds)
            news.clear()

    return asyncio.create_task(again_and_again(), name=name)

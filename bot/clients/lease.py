"""Leases for what only one process may do: wait for them, keep them, stop when they are lost."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from engine.errors import LedgerError
from engine.ledger.leases import RENEW_SECONDS, Leases
from engine.shutdown import end, within

AGAIN_SECONDS = 2.0  # between two tries to get a lease
GIVE_BACK_SECONDS = 0.7

log = logging.getLogger(__name__)


@asynccontextmanager
async def holding(
    leases: Leases, names: tuple[str, ...], waiting: Callable[[str], None]
) -> AsyncIterator[asyncio.Event]:
    """Hold all leases inside the block; yield an event that is set when one is lost.

    `waiting` is called once with each process that has one. While the ledger cannot be reached nobody
    can take them, so they are kept.
    """
    lost = asyncio.Event()
    told: set[str] = set()
    while True:
        try:
            theirs = {who for name in names if (who := await leases.take(name))}
        except LedgerError:
            log.exception("a lease cannot be taken; trying again")
            theirs = {""}
        if not theirs:
            break
        for who in theirs - told - {""}:
            waiting(who)
        told |= theirs
        await asyncio.sleep(AGAIN_SECONDS)
    keeper = asyncio.create_task(_keep(leases, names, lost))
    try:
        yield lost
    finally:
        await end(keeper)
        with contextlib.suppress(LedgerError, TimeoutError):  # else they lapse
            await within(GIVE_BACK_SECONDS, leases.give_back(names))


async def _keep(leases: Leases, names: tuple[str, ...], lost: asyncio.Event) -> None:
    while leases.needed and not lost.is_set():
        await asyncio.sleep(RENEW_SECONDS)
        for name in names:
            try:
                who = await leases.take(name)
            except LedgerError as error:
                log.warning("a lease was not renewed", extra={"lease": name, "why": str(error)})
                continue
            if who:
                log.error("a lease was lost", extra={"lease": name, "holder": who})
                lost.set()


class LeaseLostError(Exception):
    """Say that another process has taken over: this one begins anew, and waits."""


async def until(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Work until the event is set; say whether the work had ended before."""
    working, waiting = asyncio.create_task(work), asyncio.create_task(event.wait())
    try:
        await asyncio.wait({working, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            await working
            return True
        return False
    finally:
        await end(working, waiting)


async def while_held(lost: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Work to the end. Raises LeaseLostError when the lease is lost before."""
    if not await until(lost, work):
        raise LeaseLostError("another process has taken over")

"""Doing what only one process may do: wait for its leases, keep them, stop when they are lost."""

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
    leases: Leases, names: tuple[str, ...], waiting: Callable[[str], None], *, holder: str = ""
) -> AsyncIterator[asyncio.Event]:
    """Once all of them are ours, until the block ends; gives what is set when one was lost.

    `waiting` is called with who has one, once for each who. While the ledger cannot be reached nobody
    can take them, so they are kept. With a `holder` that others use too they are left to lapse.
    """
    lost = asyncio.Event()
    told: set[str] = set()
    while True:
        try:
            theirs = {who for name in names if (who := await leases.take(name, holder))}
        except LedgerError:
            log.exception("a lease cannot be taken; trying again")
            theirs = {""}
        if not theirs:
            break
        for who in theirs - told - {""}:
            waiting(who)
        told |= theirs
        await asyncio.sleep(AGAIN_SECONDS)
    keeper = asyncio.create_task(_keep(leases, names, holder, lost))
    try:
        yield lost
    finally:
        await end(keeper)
        if not holder:
            with contextlib.suppress(LedgerError, TimeoutError):  # else they lapse
                await within(GIVE_BACK_SECONDS, leases.give_back(names))


async def _keep(leases: Leases, names: tuple[str, ...], holder: str, lost: asyncio.Event) -> None:
    while leases.needed and not lost.is_set():
        await asyncio.sleep(RENEW_SECONDS)
        for name in names:
            try:
                who = await leases.take(name, holder)
            except LedgerError as error:
                log.warning("a lease was not renewed", extra={"lease": name, "why": str(error)})
                continue
            if who:
                log.error("a lease was lost", extra={"lease": name, "holder": who})
                lost.set()


class LeaseLostError(Exception):
    """Another process does it in our place: this one begins anew, and waits."""


async def until(lost: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Do it to its end. Raises LeaseLostError when the lease is lost before."""
    working, losing = asyncio.create_task(work), asyncio.create_task(lost.wait())
    try:
        await asyncio.wait({working, losing}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise LeaseLostError("another process has taken over")
        await working
    finally:
        await end(working, losing)

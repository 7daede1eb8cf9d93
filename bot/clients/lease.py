"""Leases for what only one process may do: wait for one, keep it, stop when it is lost."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from engine.errors import LedgerError
from engine.ledger.leases import RENEW_SECONDS, Leases
from engine.shutdown import end, within

AGAIN_SECONDS = 2.0  # between two tries to get a lease
GIVE_BACK_SECONDS = 0.7

log = logging.getLogger(__name__)


class LeaseLostError(Exception):
    """Say that another process has taken over: this one begins anew, and waits."""


async def while_alone(
    leases: Leases, name: str, platform: str, work: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Wait for the lease, and work while it is held. Raises LeaseLostError when it is lost before.

    While the ledger cannot be reached nobody can take a lease, so it is kept.
    """
    await _taken(leases, name, platform)
    lost = asyncio.Event()
    keeper = asyncio.create_task(_keep(leases, name, lost))
    try:
        if not await until(lost, work()):
            raise LeaseLostError("another process has taken over")
    finally:
        await end(keeper)
        with contextlib.suppress(LedgerError, TimeoutError):  # else it lapses
            await within(GIVE_BACK_SECONDS, leases.give_back((name,)))


async def _taken(leases: Leases, name: str, platform: str) -> None:
    told = ""
    while True:
        try:
            if not (who := await leases.take(name)):
                return
        except LedgerError:
            log.exception("a lease cannot be taken; trying again")
        else:
            if who != told:
                log.warning(
                    "%s: %s serves this bot already. Waiting: when it ends, this one takes its place.",
                    platform, who,
                )  # fmt: skip
            told = who
        await asyncio.sleep(AGAIN_SECONDS)


async def _keep(leases: Leases, name: str, lost: asyncio.Event) -> None:
    while leases.needed and not lost.is_set():
        await asyncio.sleep(RENEW_SECONDS)
        try:
            who = await leases.take(name)
        except LedgerError as error:
            log.warning("a lease was not renewed", extra={"lease": name, "why": str(error)})
            continue
        if who:
            log.error("a lease was lost", extra={"lease": name, "holder": who})
            lost.set()


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

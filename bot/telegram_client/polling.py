"""Long polling for updates, which are read one by one: one that cannot be read stops nobody.

A batch is confirmed, by asking for what comes after it, once all of it is on record, in a rush after
half a second. Should the process die before, Telegram sends it again, and what was taken in already is
known by its number.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from telegram.error import Conflict, InvalidToken, RetryAfter

from bot.clients.pacing import backoff
from bot.telegram_client.api import Api, seconds_of
from bot.telegram_client.updates import number_of
from engine.shutdown import wanted

BACKOFF_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
CONFLICT = (
    "Another program fetches this Telegram bot's updates. Stop it: only one may, with one token."
)

Take = Callable[[list[Any]], Awaitable[None]]

log = logging.getLogger(__name__)


async def poll(api: Api, take: Take, trouble: Callable[[str], None]) -> None:
    """Poll until cancelled: await `take` with each batch, tell `trouble` what an operator can mend.

    Raises InvalidToken when the token is no longer good.
    """
    offset: int | None = None
    faults = 0
    while wanted():
        try:
            batch = await api.updates(offset)
            faults = 0
        except InvalidToken:
            raise
        except RetryAfter as error:
            await asyncio.sleep(seconds_of(error))
            continue
        except Exception as error:  # noqa: BLE001 - whatever came, the loop goes on
            if isinstance(error, Conflict) and not faults:
                trouble(CONFLICT)
            log.warning("updates could not be fetched", extra={"why": type(error).__name__})
            await asyncio.sleep(backoff(faults, BACKOFF_SECONDS))
            faults += 1
            continue
        if not batch:
            continue
        await take(batch)
        numbers = [number for number in map(number_of, batch) if number is not None]
        if numbers:
            offset = numbers[-1] + 1
        else:
            await asyncio.sleep(BACKOFF_SECONDS[0])

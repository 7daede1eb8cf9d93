"""What Discord refuses, in the pacing's own words; and the calls that must get through all the same.

discord.py sleeps out a 429 by itself and repeats a 500 five times; a connection that drops, a gateway
timeout or a hurried 429 without Discord's own header it passes on, so those are repeated here.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import aiohttp
import discord

from bot.clients.pacing import Clock, TooFast, Vanished, backoff

PATIENCE_SECONDS = 600.0  # how long a call that must get through is repeated
HURRIED_SECONDS = 5.0  # the pause after a 429 that names none
UNKNOWN_INTERACTION, ACKNOWLEDGED = 10062, 40060
EXPIRED = frozenset({10015, UNKNOWN_INTERACTION, 50027})  # webhook, interaction, its token
GONE = frozenset({10003, 10004, 10008, 10013})  # channel, server, message, person
FORBIDDEN = frozenset({50001, 50005, 50007, 50013, 160002, 160005})  # the last: a locked thread
ARCHIVED = 50083  # a thread, in which nothing is edited until somebody writes in it
TOO_LARGE = 40005
TOO_OLD_TO_EDIT = 30046  # too many edits of a message older than an hour
PASSING = (aiohttp.ClientError, OSError, asyncio.TimeoutError, discord.DiscordServerError)

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class Expired(Vanished):
    """The interaction's token is worth nothing any more; the channel may still be."""


class Forbidden(Vanished):
    """The bot lacks a permission there."""


class Stale(Vanished):
    """The message is edited no more, being too old or in an archived thread; a new one may take its
    place, and brings an archived thread back."""


class TooLarge(Vanished):
    """A file is larger than that place takes."""


class Refused(Vanished):
    """Discord calls the message malformed; as it is, it will never be taken."""


@contextmanager
def translated() -> Iterator[None]:
    """Discord's errors as TooFast, or a kind of Vanished; what may pass is left as it is."""
    try:
        yield
    except discord.RateLimited as error:
        raise TooFast(error.retry_after) from error
    except discord.DiscordServerError:
        raise
    except discord.HTTPException as error:
        raise _meaning(error) from error


def _meaning(error: discord.HTTPException) -> Exception:
    words = f"Discord answered {error.status} ({error.code})"
    if error.code in (TOO_OLD_TO_EDIT, ARCHIVED):
        return Stale(words)  # it comes as a 429 too, but waiting would not help
    if error.status == 429:
        return TooFast(pause(error))
    if error.code in EXPIRED:
        return Expired(words)
    if error.code == TOO_LARGE or error.status == 413:
        return TooLarge(words)
    if error.code in FORBIDDEN or error.status == 403:
        return Forbidden(words)
    if error.code in GONE or error.status == 404:
        return Vanished(words)
    return Refused(words)


def pause(error: Exception) -> float:
    """Seconds that a 429 asks to wait; 0 for what is none."""
    if not isinstance(error, discord.HTTPException) or error.status != 429:
        return 0.0
    try:
        return float(error.response.headers["Retry-After"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return HURRIED_SECONDS


async def insist(
    call: Callable[[], Awaitable[Result]], patience: float = PATIENCE_SECONDS
) -> Result:
    """The call's result, repeated while what stops it may pass. Raises Vanished, or the last fault."""
    clock = Clock()
    until = clock.now() + patience
    tries = 0
    while True:
        try:
            with translated():
                return await call()
        except (TooFast, *PASSING) as error:
            wait = error.seconds if isinstance(error, TooFast) else backoff(tries)
            if clock.now() + wait > until:
                raise
            log.info("a call is repeated", extra={"why": type(error).__name__, "seconds": wait})
            tries += 1
            await clock.sleep(wait)

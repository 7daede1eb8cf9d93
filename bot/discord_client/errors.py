"""Discord's errors by what they mean, and calls that are repeated until they get through.

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

from bot.clients.pacing import DEADLINE_SECONDS, Clock, TooFast, Vanished, backoff

PATIENCE_SECONDS = DEADLINE_SECONDS  # how long a call that must get through is repeated
HURRIED_SECONDS = 5.0  # the pause after a 429 that names none
UNKNOWN_INTERACTION, ACKNOWLEDGED = 10062, 40060
EXPIRED = frozenset({10015, UNKNOWN_INTERACTION, 50027})  # webhook, interaction, its token
GONE = frozenset({10003, 10004, 10008, 10013})  # channel, server, message, person
FORBIDDEN = frozenset({50001, 50005, 50007, 50013, 160002, 160005})  # the last: a locked thread
TOO_LARGE = 40005
# too many edits of a message older than an hour; an archived thread, in which somebody must write first
STALE = frozenset({30046, 50083})
PASSING = (aiohttp.ClientError, OSError, asyncio.TimeoutError, discord.DiscordServerError)

Result = TypeVar("Result")

log = logging.getLogger(__name__)


class Expired(Vanished):
    """Say that the interaction's token is worth nothing any more; the channel may still be."""


class Forbidden(Vanished):
    """Say that the bot lacks a permission there."""


class Stale(Vanished):
    """The message is edited no more, being too old or in an archived thread; a new one may take its
    place, and brings an archived thread back."""


class TooLarge(Vanished):
    """Say that a file is larger than that place takes."""


class Refused(Vanished):
    """Say that Discord calls the message malformed, and will never take it as it is."""


@contextmanager
def translated() -> Iterator[None]:
    """Translate Discord's errors into TooFast, or a kind of Vanished; leave what may pass as it is."""
    try:
        yield
    except discord.RateLimited as error:
        raise TooFast(error.retry_after) from error
    except discord.DiscordServerError:
        raise
    except discord.HTTPException as error:
        raise _meaning(error) from error


def _meaning(error: discord.HTTPException) -> Exception:
    code, status = error.code, error.status
    words = f"Discord answered {status} ({code})"
    if status == 429 and code not in STALE:  # of what is stale it comes too, but waiting is no help
        return TooFast(pause(error))
    meanings = (
        (Stale, code in STALE),
        (Expired, code in EXPIRED),
        (TooLarge, code == TOO_LARGE or status == 413),
        (Forbidden, code in FORBIDDEN or status == 403),
        (Vanished, code in GONE or status == 404),
    )
    return next((kind for kind, holds in meanings if holds), Refused)(words)


def pause(error: Exception) -> float:
    """Read the seconds that a 429 asks to wait; 0 for what is none."""
    if not isinstance(error, discord.HTTPException) or error.status != 429:
        return 0.0
    try:
        return float(error.response.headers["Retry-After"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return HURRIED_SECONDS


async def insist(
    call: Callable[[], Awaitable[Result]], patience: float = PATIENCE_SECONDS
) -> Result:
    """Repeat a call while what stops it may pass. Raises Vanished, or the last fault."""
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

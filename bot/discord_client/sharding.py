"""Which part of Discord's events this process hears (DISCORD_SHARDS), each shard by one process alone.

Discord sends a server's events to shard (server id >> 22) % count. A bot needs them from 2,500 servers
on. https://discord.com/developers/docs/events/gateway#sharding
Who listens to a shard holds its lease, and stops when that is lost.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from bot.clients.lease import AGAIN_SECONDS, holding, while_held
from engine.errors import SetupError
from engine.ledger.leases import Leases

MOST = 16_384
_PART = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """The shards of this process, out of `count`; None asks Discord how many there should be."""

    ids: tuple[int, ...]
    count: int | None


SINGLE = Shards(ids=(0,), count=1)  # one connection hears everything


def of_count(count: int) -> Shards:
    return Shards(ids=tuple(range(count)), count=count)


def read_shards(text: str) -> Shards:
    """Read the setting. Raises SetupError.

    >>> read_shards("") == SINGLE, read_shards("auto").count
    (True, None)
    >>> read_shards("0-2,5/8").ids
    (0, 1, 2, 5)
    >>> read_shards("3").ids
    (0, 1, 2)
    """
    text = text.replace(" ", "")
    if text == "":
        return SINGLE
    if text.lower() == "auto":
        return Shards(ids=(), count=None)
    chosen, slash, of = text.rpartition("/")
    count = int(of) if of.isdecimal() else 0
    parts = [_PART.fullmatch(part) for part in chosen.split(",")] if slash else []
    ranges = [range(int(p[1]), int(p[2] or p[1]) + 1) for p in parts if p is not None]
    sound = len(ranges) == len(parts) and all(each and each[-1] < count for each in ranges)
    if not (1 <= count <= MOST and sound):
        raise SetupError(
            f"DISCORD_SHARDS is {text!r}. Write auto, a number (8: all eight here), or some: 0-3/8 in "
            "one process, 4-7/8 in another. They count from 0. Unset, one connection hears everything."
        )
    if not slash:
        return of_count(count)
    return Shards(ids=tuple(sorted(set().union(*ranges))), count=count)


async def listen_alone(
    listen: Callable[[], Coroutine[Any, Any, None]],
    leases: Leases,
    shards: Shards,
    application: int | None,
) -> None:
    """Listen while we hold the leases of all shards, and nobody divides by another number of them.

    Raises LeaseLostError.
    """
    prefix, told = f"discord {application} ", set[str]()
    while others := {
        name: who
        for name, who in (await leases.alike(prefix)).items()
        if not name.endswith(f"/{shards.count}")
    }:
        for name in others.keys() - told:
            log.warning(
                "Discord: %s serves shard %s, and this process divides by %s. Waiting for its end: "
                "all must have the same number in DISCORD_SHARDS.",
                others[name], name.rpartition(" ")[2], shards.count,
            )  # fmt: skip
        told |= others.keys()
        await asyncio.sleep(AGAIN_SECONDS)

    def waiting(who: str) -> None:
        log.warning(
            "Discord: %s listens already to what this process is to hear. Waiting: when it ends, this "
            "one takes its place.",
            who,
        )

    names = tuple(f"{prefix}{number}/{shards.count}" for number in shards.ids)
    async with holding(leases, names, waiting) as lost:
        await while_held(lost, listen())

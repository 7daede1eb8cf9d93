"""Which part of Discord's events this process hears: DISCORD_SHARDS.

Discord sends a server's events to shard (server id >> 22) % count. A bot needs them from 2,500 servers
on. https://discord.com/developers/docs/events/gateway#sharding
"""

import re
from dataclasses import dataclass

from engine.errors import SetupError

MOST = 16_384
_PART = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """The shards of this process, out of `count`; None asks Discord how many there should be."""

    ids: tuple[int, ...]
    count: int | None

    @property
    def single(self) -> bool:
        """One connection hears everything."""
        return self.count == 1

    def names(self, application: int | None) -> tuple[str, ...]:
        """The names of their leases."""
        return tuple(f"{prefix(application)}{number}/{self.count}" for number in self.ids)


SINGLE = Shards(ids=(0,), count=1)


def prefix(application: int | None) -> str:
    """How the names of all leases of one bot's shards begin."""
    return f"discord {application} "


def of_count(count: int) -> Shards:
    """All of so many."""
    return Shards(ids=tuple(range(count)), count=count)


def read_shards(text: str) -> Shards:
    """What the setting says. Raises SetupError.

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
    chosen, slash, of = text.partition("/")
    count = int(of if slash else chosen) if (of if slash else chosen).isdecimal() else 0
    if not 1 <= count <= MOST:
        raise _wrong(text)
    if not slash:
        return of_count(count)
    ids: set[int] = set()
    for part in chosen.split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise _wrong(text)
        first, last = int(found[1]), int(found[2] or found[1])
        if not first <= last < count:
            raise _wrong(text)
        ids.update(range(first, last + 1))
    return Shards(ids=tuple(sorted(ids)), count=count)


def _wrong(text: str) -> SetupError:
    return SetupError(
        f"DISCORD_SHARDS is {text!r}. Write auto, a number (8: all eight here), or some: 0-3/8 in "
        "one process, 4-7/8 in another. They count from 0. Unset, one connection hears everything."
    )

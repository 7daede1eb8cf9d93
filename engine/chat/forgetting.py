"""Forgetting a person on their word, and what was asked in a place that the bot was sent away from.

A tombstone (keyed lookup and time, no content) stays in the database and in a file beside it, so that
an older database put back in place forgets again before it serves.
"""

import asyncio
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from engine.chat.backups import forget_there, in_backups
from engine.chat.rights import RULES
from engine.errors import LedgerError
from engine.events import FINAL_STATES
from engine.files import append
from engine.ledger.chat_tables import BucketRow, PlaceRow, Tombstone
from engine.ledger.erasure import erase_requests
from engine.ledger.ledger import Ledger
from engine.ledger.tables import Asker, JobRow, RequestRow
from engine.ledger.transactions import lasting, put

TOMBSTONES = "tombstones.jsonl"
NEVER: tuple[float, frozenset[str]] = (0.0, frozenset())
SETTLE_SECONDS = 0.1
SETTLE_TRIES = 200

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """How much went; `lost` are studies whose key is gone, in which nobody can be found."""

    requests: int = 0
    pictures: int = 0
    lost: tuple[str, ...] = ()


class Forgetting:
    def __init__(self, ledger: Ledger, home: Path) -> None:
        self._ledger = ledger
        self._home = home

    async def forget(self, platform: str, asker: str, pseudonyms: Sequence[str] = ()) -> Forgotten:
        """Delete everything of a person, in all studies too. Raises LedgerError; then nothing went."""
        return await self.let_go(self._ledger.person(platform, asker), pseudonyms)

    async def let_go(self, lookup: str, pseudonyms: Sequence[str] = ()) -> Forgotten:
        """Delete what a lookup stands for: a person, or what an observer knows by it.

        The tombstone is on disk before anything is deleted: a kill in between ends in forgetting. It is
        younger than any before it, whatever the clock says.
        """
        try:
            before, _ = (await asyncio.to_thread(self._tombstones)).get(lookup, NEVER)
            now = max(self._ledger.clock(), before + 0.001)
            stone = {"lookup": lookup, "at": now, "pseudonyms": list(pseudonyms)}
            line = f"\n{json.dumps(stone)}\n"  # begun anew, for the last line may be torn
            # on a server there may be no data folder
            self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
            await asyncio.to_thread(append, self._home / TOMBSTONES, line, private=True)
        except OSError as error:
            raise LedgerError(f"{TOMBSTONES} cannot be written: {error.strerror}") from error
        forget = partial(forget_there, lookup, pseudonyms, self._ledger.observers)
        await asyncio.to_thread(in_backups, self._home, forget)
        done = await self.erase(lookup, now, pseudonyms)
        await self._ledger.throw_away()
        await self._ledger.fold_away()
        return done

    @lasting
    async def erase(self, lookup: str, at: float, pseudonyms: Sequence[str]) -> Forgotten:
        """Delete in one transaction; pictures are written down in it, to be thrown away after it."""
        async with self._ledger.writing() as connection:
            pictures = 0
            for observer in self._ledger.observers:
                now = self._ledger.clock()
                pictures += await observer.forgotten(connection, lookup, pseudonyms, now)
            asked = sa.select(RequestRow.id).join(Asker).where(Asker.lookup == lookup)
            requests = list(await connection.scalars(asked))
            pictures += await erase_requests(self._ledger, connection, requests)
            for rule in RULES.values():
                if rule.by == "lookup" and rule.column is not Asker.lookup:
                    table = rule.column.class_
                    await connection.execute(sa.delete(table).where(rule.column == lookup))
            rest = sa.select(RequestRow.asker_id).join(Asker).where(Asker.lookup == lookup)
            if await connection.scalar(rest) is None:  # else one came in at this moment
                await connection.execute(sa.delete(Asker).where(Asker.lookup == lookup))
            await put(connection, Tombstone, ("lookup",), {"lookup": lookup, "at": at})
        return Forgotten(requests=len(requests), pictures=pictures)

    def _tombstones(self) -> dict[str, tuple[float, frozenset[str]]]:
        """Read when each lookup was forgotten last, and its pseudonyms; a torn last line is no harm."""
        try:
            lines = (self._home / TOMBSTONES).read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return {}
        found: dict[str, tuple[float, frozenset[str]]] = {}
        for line in lines:
            try:
                stone = json.loads(line)
                at, names = found.get(stone["lookup"], NEVER)
                names |= frozenset(stone.get("pseudonyms", ()))
                found[stone["lookup"]] = max(stone["at"], at), names
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        return found

    async def remember_to_forget(self) -> None:
        """At a start: erase again what an older database brought back."""
        rows = await self._ledger.rows(sa.select(Tombstone.lookup, Tombstone.at))
        known = {row.lookup: row.at for row in rows}
        for lookup, (at, names) in self._tombstones().items():
            if known.get(lookup, 0.0) < at:
                await self.erase(lookup, at, sorted(names))
                log.warning("a person whom an older database brought back was forgotten again")
        await self._ledger.throw_away()

    async def leave(self, platform: str, places: Sequence[str]) -> None:
        """Delete what was asked in places that sent the bot away; retention takes what is under way."""
        shared = RequestRow.alone.is_not(True), RequestRow.platform == platform
        asked = sa.select(RequestRow.place, RequestRow.place_lookup).where(*shared)
        within = tuple(f"{place}/" for place in places)  # a topic is named below its group
        topics = {row[1] for row in await self._ledger.rows(asked) if row[0].startswith(within)}
        await self._leave([*topics, *(self._ledger.place(platform, place) for place in places)])
        await self._ledger.throw_away()

    @lasting
    async def _leave(self, lookups: Sequence[str]) -> None:
        running = sa.select(JobRow.request_id).where(JobRow.state.not_in(FINAL_STATES))
        query = sa.select(RequestRow.id).where(
            RequestRow.place_lookup.in_(lookups), RequestRow.id.not_in(running)
        )
        async with self._ledger.writing() as connection:
            requests = list(await connection.scalars(query))
            await erase_requests(self._ledger, connection, requests)
            for column in (PlaceRow.lookup, PlaceRow.owner, BucketRow.lookup):
                await connection.execute(sa.delete(column.class_).where(column.in_(lookups)))

    async def under_way(self, platform: str, asker: str) -> list[str]:
        who = Asker.lookup == self._ledger.person(platform, asker)
        query = sa.select(JobRow.id).join(RequestRow).join(Asker)
        return await self._ledger.scalars(query.where(who, JobRow.state.not_in(FINAL_STATES)))

    async def settled(self, platform: str, asker: str) -> bool:
        """Wait until none of theirs is under way; False when that takes too long."""
        for _ in range(SETTLE_TRIES):
            if not await self.under_way(platform, asker):
                return True
            await asyncio.sleep(SETTLE_SECONDS)
        return False

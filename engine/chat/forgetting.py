"""Forgetting a person on their word, and what was asked in a place that the bot was sent away from.

A tombstone (keyed lookup and time, no content) stays in the database and in a file beside it, so that
an older database put back in place forgets again before it serves.
"""

import asyncio
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from engine.chat.backups import forget_in_backups
from engine.chat.rights import RULES
from engine.errors import LedgerError
from engine.events import FINAL_STATES
from engine.ledger.chat_tables import BucketRow, PlaceRow, Tombstone
from engine.ledger.erasure import erase_requests
from engine.ledger.observers import ChatObserver
from engine.ledger.tables import Asker, JobRow, RequestRow
from engine.ledger.transactions import Database, lasting, put

TOMBSTONES = "tombstones.jsonl"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """How much went; `lost` are studies whose key is gone, in which nobody can be found."""

    requests: int = 0
    pictures: int = 0
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgottenPerson:
    """When somebody was forgotten last, and the pseudonyms that they had."""

    at: float = 0.0
    pseudonyms: frozenset[str] = frozenset()


class Forgetting:
    """Works on the ledger's tables and on its copies; the pictures that they let go of are written down
    for Ledger.throw_away."""

    def __init__(
        self, database: Database, home: Path, observers: Sequence[ChatObserver] = ()
    ) -> None:
        self._database = database
        self._home = home
        self._observers = observers

    async def forget(self, platform: str, asker: str, pseudonyms: Sequence[str] = ()) -> Forgotten:
        """Everything of the person goes, in all studies too. Raises LedgerError; then nothing went.

        The tombstone is on disk before anything is deleted: a kill in between ends in forgetting. It is
        younger than any before it, whatever the clock says.
        """
        lookup = self._database.vault.lookup(platform, asker)
        now = self._database.clock()
        try:
            before = await asyncio.to_thread(self._engraved)
            now = max(now, before.get(lookup, ForgottenPerson()).at + 0.001)
            await asyncio.to_thread(self._engrave, lookup, now, pseudonyms)
        except OSError as error:
            raise LedgerError(f"{TOMBSTONES} cannot be written: {error.strerror}") from error
        await asyncio.to_thread(forget_in_backups, self._home, lookup, pseudonyms, self._observers)
        return await self._erase(lookup, now, pseudonyms)

    @lasting
    async def _erase(self, lookup: str, at: float, pseudonyms: Sequence[str]) -> Forgotten:
        async with self._database.writing() as connection:
            pictures = 0
            for observer in self._observers:
                now = self._database.clock()
                pictures += await observer.forgotten(connection, lookup, pseudonyms, now)
            asked = sa.select(RequestRow.id).join(Asker).where(Asker.lookup == lookup)
            requests = list(await connection.scalars(asked))
            pictures += await erase_requests(self._database, connection, requests)
            for rule in RULES.values():
                if rule.by == "lookup" and rule.column is not Asker.lookup:
                    table = rule.column.class_
                    await connection.execute(sa.delete(table).where(rule.column == lookup))
            rest = sa.select(RequestRow.asker_id).join(Asker).where(Asker.lookup == lookup)
            if await connection.scalar(rest) is None:  # else one came in at this moment
                await connection.execute(sa.delete(Asker).where(Asker.lookup == lookup))
            await put(connection, Tombstone, ("lookup",), {"lookup": lookup, "at": at})
        return Forgotten(requests=len(requests), pictures=pictures)

    def _engrave(self, lookup: str, at: float, pseudonyms: Sequence[str]) -> None:
        """Add a line to the file, and sync it. It begins anew, for the last one may be torn."""
        stone = json.dumps({"lookup": lookup, "at": at, "pseudonyms": list(pseudonyms)})
        line = f"\n{stone}\n"
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)  # on a server there may be none
        descriptor = os.open(self._home / TOMBSTONES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="ascii") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _engraved(self) -> dict[str, ForgottenPerson]:
        """What the file says of each lookup; a torn last line is no harm."""
        try:
            lines = (self._home / TOMBSTONES).read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return {}
        found: dict[str, ForgottenPerson] = {}
        for line in lines:
            try:
                stone = json.loads(line)
                last = found.get(stone["lookup"], ForgottenPerson())
                names = last.pseudonyms | frozenset(stone.get("pseudonyms", ()))
                found[stone["lookup"]] = ForgottenPerson(
                    at=max(stone["at"], last.at), pseudonyms=names
                )
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        return found

    async def remember_to_forget(self) -> None:
        """At a start: erase again what an older database brought back."""
        stones = self._engraved()
        async with self._database.reading() as connection:
            rows = await connection.execute(sa.select(Tombstone.lookup, Tombstone.at))
            known: dict[str, float] = {row.lookup: row.at for row in rows}
        for lookup, stone in stones.items():
            if known.get(lookup, 0.0) < stone.at:
                await self._erase(lookup, stone.at, sorted(stone.pseudonyms))
                log.warning("a person whom an older database brought back was forgotten again")

    @lasting
    async def leave(self, platform: str, places: Sequence[str]) -> None:
        """The bot was sent away from these: what was asked there goes.

        What is under way ends first, and goes with the round of retention that finds it.
        """
        lookups = [self._database.place(platform, place) for place in places]
        running = sa.select(JobRow.request_id).where(JobRow.state.not_in(FINAL_STATES))
        async with self._database.writing() as connection:
            query = sa.select(RequestRow.id).where(
                RequestRow.place_lookup.in_(lookups), RequestRow.id.not_in(running)
            )
            requests = list(await connection.scalars(query))
            await erase_requests(self._database, connection, requests)
            for table in (PlaceRow, BucketRow):
                await connection.execute(sa.delete(table).where(table.lookup.in_(lookups)))

    async def under_way(self, platform: str, asker: str) -> list[str]:
        """The jobs of a person that have no final state."""
        lookup = self._database.vault.lookup(platform, asker)
        query = (
            sa.select(JobRow.id)
            .join(RequestRow, RequestRow.id == JobRow.request_id)
            .join(Asker, Asker.id == RequestRow.asker_id)
            .where(Asker.lookup == lookup, JobRow.state.not_in(FINAL_STATES))
        )
        async with self._database.reading() as connection:
            return list(await connection.scalars(query))

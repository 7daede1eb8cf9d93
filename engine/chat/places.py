"""Settings of places, the lists of who is kept out or let in, and what operators have switched."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import sqlalchemy as sa

from engine.ledger.chat_tables import BlockRow, BucketRow, PlaceRow, SwitchRow
from engine.ledger.tables import Asker, RequestRow
from engine.ledger.transactions import Database, add, put, repeated


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place's settings: its default style (a card's name, or none), and answering unmentioned."""

    style: str = ""
    talk_on: bool = False


class Places:
    """Few rows, asked often: read each time, so that every process sees a change at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def place(self, platform: str, place: str, parent: str = "") -> Place:
        """Read its settings; a thread that has none has its channel's, the `parent`'s."""
        names = [self._database.place(platform, name) for name in (place, parent) if name]
        query = sa.select(PlaceRow.__table__).where(PlaceRow.lookup.in_(names))
        rows = {row.lookup: row for row in await self._database.rows(query)}
        row = next((rows[name] for name in names if name in rows), None)
        return Place() if row is None else Place(style=row.style or "", talk_on=row.talk_on)

    @repeated
    async def settle(
        self, platform: str, place: str, owner: str | None = None, parent: str = "", **change: Any
    ) -> None:
        """Change its `style` or `talk_on`. What else it had, or has from its `parent`, it keeps, whoever
        changes that at the moment. It goes with the `owner`, or else with the parent."""
        held = await self.place(platform, place, parent)
        whose = self._database.place(platform, parent) if parent else None
        key = {"lookup": self._database.place(platform, place)}
        change |= {
            "changed_at": self._database.clock(),
            "owner": whose if owner is None else self._database.person(platform, owner),
        }
        async with self._database.writing() as connection:
            await add(connection, PlaceRow, key | {"platform": platform} | asdict(held) | change)
            await connection.execute(sa.update(PlaceRow).filter_by(**key).values(**change))
            if "talk_on" in change:  # in its threads, too
                threads = sa.update(PlaceRow).where(PlaceRow.owner == key["lookup"])
                await connection.execute(threads.values(talk_on=change["talk_on"]))

    async def own(self, platform: str, asker: str, chat: str) -> None:
        """Give people the settings of their chats of two of which an older ledger knew no owner."""
        who = self._database.person(platform, asker)
        asked = sa.select(RequestRow.place_lookup).join(Asker).where(Asker.lookup == who)
        here = PlaceRow.lookup == self._database.place(platform, chat)
        theirs = sa.or_(here, PlaceRow.lookup.in_(asked.where(RequestRow.alone.is_(True))))
        ownerless = sa.update(PlaceRow).where(PlaceRow.owner.is_(None), theirs)
        await self._database.change(ownerless.values(owner=who))

    def _subject(self, platform: str, kind: str, name: str) -> str:
        return self._database.vault.lookup(
            platform if kind == "asker" else f"{platform} {kind}", name
        )

    async def rule(self, platform: str, kind: str, name: str, action: str) -> None:
        """Set "allow" or "deny" for an asker, place or server, or take either back with ""."""
        row = {"platform": platform, "kind": kind, "action": action, "at": self._database.clock()}
        key = {"lookup": self._subject(platform, kind, name)}
        await self._set(BlockRow, key, row if action else None)

    @repeated
    async def _set(self, table: Any, key: dict[str, str], row: dict[str, Any] | None) -> None:
        async with self._database.writing() as connection:
            if row is None:
                await connection.execute(sa.delete(table).filter_by(**key))
            else:
                await put(connection, table, tuple(key), key | row)

    async def welcome(
        self, platform: str, asker: str, places: Sequence[str], server: str = ""
    ) -> bool:
        """Say whether to answer in a place and its parents: nothing of it is denied, and where a list of
        allowed places exists on this platform, one of them or the server is on it."""
        who = self._subject(platform, "asker", asker)
        where = {self._subject(platform, "place", place) for place in places}
        if server:
            where.add(self._subject(platform, "server", server))
        query = sa.select(BlockRow.lookup, BlockRow.kind, BlockRow.action)
        rows = await self._database.rows(query.where(BlockRow.platform == platform))
        said = {row.action for row in rows if row.lookup in (who, *where)}
        lists = any(row.action == "allow" and row.kind != "asker" for row in rows)
        return "deny" not in said and ("allow" in said or not lists)

    @repeated
    async def rename(self, platform: str, place: str, now: str) -> None:
        """Give all that is kept of a place to its new name, but for what that has already."""
        old, new = self._database.place(platform, place), self._database.place(platform, now)
        asked, nobodys = RequestRow.place_lookup == old, sa.select(Asker.id).filter_by(platform="")
        async with self._database.writing() as connection:
            named = sa.update(RequestRow).where(asked, RequestRow.asker_id.not_in(nobodys))
            await connection.execute(named.values(place=now))
            await connection.execute(sa.update(RequestRow).where(asked).values(place_lookup=new))
            for table in (PlaceRow, BlockRow, BucketRow):
                known = sa.select(table.lookup).where(table.lookup == new).exists()
                move = sa.update(table).where(table.lookup == old, ~known).values(lookup=new)
                await connection.execute(move)

    async def switch(self, name: str, value: str) -> None:
        row = {"value": value, "at": self._database.clock()}
        await self._set(SwitchRow, {"name": name}, row if value else None)

    async def switched(self) -> dict[str, str]:
        rows = await self._database.rows(sa.select(SwitchRow.name, SwitchRow.value))
        return {row.name: row.value for row in rows}

"""Letting go: of one person on their word, of everybody's words when their time is over.

A tombstone (keyed lookup and time, no content) stays in the database and in a file beside it, so that
an older database put back in place forgets again before it serves.
"""

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.book import Book, add, lasting, put, repeated
from engine.desk.backups import forget_in_backups
from engine.desk.tables import BucketRow, MessageRow, PlaceRow, Report, SeenRow, Tombstone
from engine.erasing import blank_jobs, erase_requests
from engine.events import FINAL_STATES
from engine.study.retention import note
from engine.study.rights import RULES, erase, pseudonyms_tied_to
from engine.study.tables import LinkCodeRow
from engine.tables import Asker, Delivery, JobRow, RequestRow

KEEP_SECONDS = 72 * 3600.0  # words and pictures
SEEN_SECONDS = 48 * 3600.0  # Telegram repeats an update for 24 h at most
BACKUP_SECONDS = 35 * 86400.0
CODES_SECONDS = 86400.0  # after a one-time code has expired
TOMBSTONES = "tombstones.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """How much went; `lost` are studies whose key is gone, in which nobody can be found."""

    requests: int = 0
    pictures: int = 0
    lost: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What a round of retention did."""

    blanked: int = 0
    pictures: int = 0
    backups: int = 0
    reports: int = 0
    updates: int = 0
    messages: int = 0
    codes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stone:
    """When somebody was forgotten last, and the pseudonyms that they had."""

    at: float = 0.0
    pseudonyms: frozenset[str] = frozenset()


class Forgetting:
    """Works on the ledger's tables and on the desk's; pictures are deleted by `throw_away`."""

    def __init__(self, book: Book, home: Path) -> None:
        self._book = book
        self._home = home

    async def forget(
        self, platform: str, asker: str, pseudonyms: Sequence[str] = ()
    ) -> tuple[Forgotten, list[str]]:
        """Everything of the person goes, in all studies too; also returns the names of their pictures.

        The tombstone is on disk before anything is deleted: a kill in between ends in forgetting. It is
        younger than any before it, whatever the clock says.
        """
        lookup = self._book.vault.lookup(platform, asker)
        before = await asyncio.to_thread(self._engraved)
        now = self._book.clock()
        if lookup in before:
            now = max(now, before[lookup].at + 0.001)
        await asyncio.to_thread(self._engrave, lookup, now, pseudonyms)
        await asyncio.to_thread(forget_in_backups, self._home, lookup, pseudonyms)
        return await self._erase(lookup, now, pseudonyms)

    @lasting
    async def _erase(
        self, lookup: str, at: float, pseudonyms: Sequence[str]
    ) -> tuple[Forgotten, list[str]]:
        async with self._book.writing() as connection:
            names = sorted({*pseudonyms, *await pseudonyms_tied_to(connection, lookup)})
            requests = await _requests_of(connection, lookup)
            files = await erase(connection, names, standing=True)
            files += await erase_requests(connection, requests)
            for name, rule in RULES.items():
                if rule.by == "lookup" and name != "askers":
                    table = rule.column.class_
                    await connection.execute(sa.delete(table).where(rule.column == lookup))
            rest = sa.select(RequestRow.asker_id).join(Asker).where(Asker.lookup == lookup)
            if await connection.scalar(rest) is None:  # else one came in at this moment
                await connection.execute(sa.delete(Asker).where(Asker.lookup == lookup))
            await put(connection, Tombstone, ("lookup",), {"lookup": lookup, "at": at})
        return Forgotten(requests=len(requests), pictures=len(set(files))), files

    def _engrave(self, lookup: str, at: float, pseudonyms: Sequence[str]) -> None:
        """Add a line to the file, and sync it."""
        line = json.dumps({"lookup": lookup, "at": at, "pseudonyms": list(pseudonyms)}) + "\n"
        descriptor = os.open(self._home / TOMBSTONES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="ascii") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _engraved(self) -> dict[str, Stone]:
        """What the file says of each lookup; a torn last line is no harm."""
        try:
            lines = (self._home / TOMBSTONES).read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return {}
        found: dict[str, Stone] = {}
        for line in lines:
            try:
                stone = json.loads(line)
                last = found.get(stone["lookup"], Stone())
                names = last.pseudonyms | frozenset(stone.get("pseudonyms", ()))
                found[stone["lookup"]] = Stone(at=max(stone["at"], last.at), pseudonyms=names)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        return found

    async def remember_to_forget(self) -> list[str]:
        """At a start: erase again what an older database brought back; names of pictures to delete."""
        stones = self._engraved()
        async with self._book.reading() as connection:
            rows = await connection.execute(sa.select(Tombstone.lookup, Tombstone.at))
            known: dict[str, float] = {row.lookup: row.at for row in rows}
        files: list[str] = []
        for lookup, stone in stones.items():
            if known.get(lookup, 0.0) < stone.at:
                files += (await self._erase(lookup, stone.at, sorted(stone.pseudonyms)))[1]
        return files

    @lasting
    async def leave(self, platform: str, places: Sequence[str]) -> list[str]:
        """The bot was sent away from these: what was asked there goes; returns pictures' names.

        What is under way ends first, and goes with the round of retention that finds it.
        """
        lookups = [self._book.place(platform, place) for place in places]
        running = sa.select(JobRow.request_id).where(JobRow.state.not_in(FINAL_STATES))
        async with self._book.writing() as connection:
            query = sa.select(RequestRow.id).where(
                RequestRow.place_lookup.in_(lookups), RequestRow.id.not_in(running)
            )
            files = await erase_requests(connection, list(await connection.scalars(query)))
            for table in (PlaceRow, BucketRow):
                await connection.execute(sa.delete(table).where(table.lookup.in_(lookups)))
        return files

    @lasting
    async def clean(self, *, dry_run: bool = False) -> tuple[Cleaned, list[str]]:
        """Blank what is older than its time; also returns the names of the pictures in it.

        A dry run does the same and takes it back. Either is written down.
        """
        now = self._book.clock()
        async with self._book.writing() as connection:
            old = await connection.scalars(
                sa.select(JobRow.id)
                .join(RequestRow, RequestRow.id == JobRow.request_id)
                .where(
                    JobRow.state.in_(FINAL_STATES),
                    JobRow.finished_at < now - KEEP_SECONDS,
                    RequestRow.route.is_not(None),
                )
            )
            jobs = list(old)
            files = await blank_jobs(connection, jobs)
            await connection.execute(
                sa.update(Delivery)
                .where(Delivery.job_id.in_(jobs), Delivery.state != "delivered")
                .values(state="lost")
            )
            reports = await connection.execute(
                sa.update(Report)
                .where(Report.at < now - BACKUP_SECONDS, Report.reason.is_not(None))
                .values(reason=None)
            )
            counts = [reports.rowcount]
            for table, at, seconds in (
                (SeenRow, SeenRow.at, SEEN_SECONDS),
                (MessageRow, MessageRow.at, KEEP_SECONDS),
                (LinkCodeRow, LinkCodeRow.expires_at, CODES_SECONDS),
            ):
                gone = await connection.execute(sa.delete(table).where(at < now - seconds))
                counts.append(gone.rowcount)
            if dry_run:
                await connection.rollback()
        backups = await asyncio.to_thread(self._old_backups, now, dry_run=dry_run)
        cleaned = Cleaned(
            blanked=len(jobs),
            pictures=len(set(files)),
            backups=backups,
            reports=counts[0],
            updates=counts[1],
            messages=counts[2],
            codes=counts[3],
        )
        async with self._book.writing() as connection:
            await note(connection, now, asdict(cleaned), dry_run=dry_run)
        return cleaned, [] if dry_run else files

    def _old_backups(self, now: float, *, dry_run: bool) -> int:
        """Delete copies that were made before a schema change and are older than five weeks."""
        gone = 0
        for path in (self._home / "backups").glob("*.sqlite3"):
            if path.stat().st_mtime < now - BACKUP_SECONDS:
                gone += 1
                if not dry_run:
                    path.unlink(missing_ok=True)
        return gone

    @repeated
    async def seen(self, platform: str, update: str) -> bool:
        """Note an update; True if it was noted before."""
        row = {"platform": platform, "update": update, "at": self._book.clock()}
        async with self._book.writing() as connection:
            return not await add(connection, SeenRow, row)

    async def under_way(self, platform: str, asker: str) -> list[str]:
        """The jobs of a person that have no final state."""
        lookup = self._book.vault.lookup(platform, asker)
        query = (
            sa.select(JobRow.id)
            .join(RequestRow, RequestRow.id == JobRow.request_id)
            .join(Asker, Asker.id == RequestRow.asker_id)
            .where(Asker.lookup == lookup, JobRow.state.not_in(FINAL_STATES))
        )
        async with self._book.reading() as connection:
            return list(await connection.scalars(query))


async def _requests_of(connection: AsyncConnection, lookup: str) -> list[str]:
    found = await connection.scalars(
        sa.select(RequestRow.id)
        .join(Asker, Asker.id == RequestRow.asker_id)
        .where(Asker.lookup == lookup)
    )
    return list(found)

"""Letting go: of one person on their word, of everybody's words when their time is over.

A tombstone (keyed lookup and time, no content) stays in the database and in a file beside it, so that
an older database put back in place forgets again before it serves.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.book import Book, add, lasting, put, repeated
from engine.desk.tables import (
    BucketRow,
    MessageRow,
    Rating,
    Report,
    SeenRow,
    Tombstone,
    VerdictRow,
)
from engine.erasing import blank_jobs, erase_requests
from engine.events import FINAL_STATES
from engine.tables import Asker, Delivery, JobRow, RequestRow

KEEP_SECONDS = 72 * 3600.0  # words and pictures
SEEN_SECONDS = 48 * 3600.0  # Telegram repeats an update for 24 h at most
BACKUP_SECONDS = 35 * 86400.0
TOMBSTONES = "tombstones.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """How much went."""

    requests: int = 0
    pictures: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned:
    """What a round of retention did."""

    blanked: int = 0
    pictures: int = 0
    backups: int = 0


class Forgetting:
    """Works on the ledger's tables and on the desk's; pictures are deleted by `throw_away`."""

    def __init__(self, book: Book, home: Path) -> None:
        self._book = book
        self._home = home

    async def forget(self, platform: str, asker: str) -> tuple[Forgotten, list[str]]:
        """Everything of the person goes; also returns the names of their pictures.

        The tombstone is on disk before anything is deleted: a kill in between ends in forgetting.
        """
        lookup = self._book.vault.lookup(platform, asker)
        now = self._book.clock()
        self._engrave(lookup, now)
        return await self._erase(lookup, now)

    @lasting
    async def _erase(self, lookup: str, at: float) -> tuple[Forgotten, list[str]]:
        async with self._book.writing() as connection:
            requests = await _requests_of(connection, lookup, at)
            files = await erase_requests(connection, requests)
            for column in (Rating.rater, Report.reporter, VerdictRow.asker):
                table = column.class_
                await connection.execute(sa.delete(table).where(column == lookup, table.at <= at))
            await connection.execute(sa.delete(BucketRow).where(BucketRow.lookup == lookup))
            rest = sa.select(RequestRow.asker_id).join(Asker).where(Asker.lookup == lookup)
            if await connection.scalar(rest) is None:
                await connection.execute(sa.delete(Asker).where(Asker.lookup == lookup))
            await put(connection, Tombstone, ("lookup",), {"lookup": lookup, "at": at})
        return Forgotten(requests=len(requests), pictures=len(set(files))), files

    def _engrave(self, lookup: str, at: float) -> None:
        """Add a line to the file, and sync it."""
        line = json.dumps({"lookup": lookup, "at": at}) + "\n"
        descriptor = os.open(self._home / TOMBSTONES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "a", encoding="ascii") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def _engraved(self) -> dict[str, float]:
        """The newest time of each lookup in the file; a torn last line is no harm."""
        try:
            lines = (self._home / TOMBSTONES).read_text(encoding="ascii").splitlines()
        except FileNotFoundError:
            return {}
        found: dict[str, float] = {}
        for line in lines:
            try:
                stone = json.loads(line)
                found[stone["lookup"]] = max(stone["at"], found.get(stone["lookup"], 0.0))
            except (ValueError, KeyError, TypeError):
                continue
        return found

    async def remember_to_forget(self) -> list[str]:
        """At a start: erase again what an older database brought back; names of pictures to delete."""
        stones = self._engraved()
        async with self._book.reading() as connection:
            rows = await connection.execute(sa.select(Tombstone.lookup, Tombstone.at))
            known: dict[str, float] = {row.lookup: row.at for row in rows}
        files: list[str] = []
        for lookup, at in stones.items():
            if known.get(lookup, 0.0) < at:
                files += (await self._erase(lookup, at))[1]
        return files

    @lasting
    async def clean(self) -> tuple[Cleaned, list[str]]:
        """Blank what is older than its time; also returns the names of the pictures in it."""
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
            await connection.execute(
                sa.update(Report).where(Report.at < now - BACKUP_SECONDS).values(reason=None)
            )
            await connection.execute(sa.delete(SeenRow).where(SeenRow.at < now - SEEN_SECONDS))
            await connection.execute(
                sa.delete(MessageRow).where(MessageRow.at < now - KEEP_SECONDS)
            )
        backups = self._old_backups(now)
        cleaned = Cleaned(blanked=len(jobs), pictures=len(set(files)), backups=backups)
        return cleaned, files

    def _old_backups(self, now: float) -> int:
        """Delete copies that were made before a schema change and are older than five weeks."""
        gone = 0
        for path in (self._home / "backups").glob("*.sqlite3"):
            if path.stat().st_mtime < now - BACKUP_SECONDS:
                path.unlink(missing_ok=True)
                gone += 1
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


async def _requests_of(connection: AsyncConnection, lookup: str, at: float) -> list[str]:
    found = await connection.scalars(
        sa.select(RequestRow.id)
        .join(Asker, Asker.id == RequestRow.asker_id)
        .where(Asker.lookup == lookup, RequestRow.accepted_at <= at)
    )
    return list(found)

"""Retention: what has had its time in the ledger goes, words and pictures, and who judged what.

A time that lies over a day ahead was written by a clock that was wrong, and counts as old.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from engine.events import FINAL_STATES
from engine.ledger.chat_tables import (
    BucketRow,
    MessageRow,
    Rating,
    Report,
    RetentionRow,
    SeenRow,
    VerdictRow,
)
from engine.ledger.erasure import BLANK_REQUEST, blank_jobs, erase_private
from engine.ledger.ledger import Ledger
from engine.ledger.tables import Asker, Delivery, JobRow, RequestRow
from engine.ledger.transactions import add, chunks, lasting
from engine.queues.postgres.tables import Ticket
from engine.settings import KEEP_HOURS

KEEP_SECONDS = KEEP_HOURS * 3600.0
SEEN_SECONDS = 48 * 3600.0  # Telegram repeats an update for 24 h at most
BACKUP_SECONDS = 35 * 86400.0
NOBODY = "nobody"  # no lookup, which has 64 characters
AHEAD_SECONDS = 86400.0  # more than clocks differ
ALARM_SECONDS = 48 * 3600.0  # without a round of retention

log = logging.getLogger(__name__)

# What loses its person when its words have gone, and what is deleted.
NAMELESS: tuple[tuple[str, Any, float, dict[str, None]], ...] = (
    ("reports", Report, BACKUP_SECONDS, {"reporter": None, "reason": None}),
    ("ratings", Rating, KEEP_SECONDS, {"rater": None}),
    ("verdicts", VerdictRow, KEEP_SECONDS, {"asker": None, "job_id": None, "reasons": None}),
)
EXPIRING: tuple[tuple[str, Any, float], ...] = (
    ("updates", SeenRow.at, SEEN_SECONDS),
    ("messages", MessageRow.at, KEEP_SECONDS),
    ("quotas", BucketRow.at, KEEP_SECONDS),  # they are full by then, and tell a time
)


class Retention:
    """Blanks and deletes what has had its time; the terminal's words may be kept longer."""

    def __init__(self, ledger: Ledger, home: Path, terminal_seconds: float = KEEP_SECONDS) -> None:
        self._ledger = ledger
        self._home = home
        self._terminal_seconds = terminal_seconds

    async def clean(self, *, dry_run: bool = False) -> dict[str, int]:
        """Blank what is older than its time, or count it in a `dry_run`; how much of what."""
        silent = await self.silence()
        if silent is not None and silent > ALARM_SECONDS:
            log.error("retention has not run for long", extra={"hours": round(silent / 3600)})
        counts = await self._clean(dry_run=dry_run)
        if not dry_run:
            await self._ledger.throw_away()
        return counts

    @lasting
    async def _clean(self, *, dry_run: bool) -> dict[str, int]:
        now = self._ledger.clock()
        async with self._ledger.writing() as connection:
            counts = await self._retire(connection, now)
            if dry_run:
                await connection.rollback()
        counts["backups"] = await asyncio.to_thread(self._old_backups, now, dry_run=dry_run)
        row = {"id": str(ULID()), "at": now, "dry_run": dry_run, "counts": counts}
        await self._ledger.change(sa.insert(RetentionRow).values(row))
        return counts

    async def overdue(self) -> list[str]:
        """Name the jobs that nobody has ended in all the time that words are kept."""
        return await self._ledger.scalars(_unended(self._ledger.clock()))

    async def silence(self) -> float | None:
        """Count the seconds since the last round, or the first thing to keep; None for neither."""
        last = sa.select(sa.func.max(RetentionRow.at)).where(RetentionRow.dry_run.is_(False))
        since = await self._ledger.scalar(last)
        if since is None:
            observed = (at for one in self._ledger.observers for at in one.beginnings)
            first = [sa.func.min(at) for at in (RequestRow.accepted_at, *observed)]
            found = [await self._ledger.scalar(sa.select(at)) for at in first]
            since = min((at for at in found if at is not None), default=None)
        return None if since is None else max(0.0, self._ledger.clock() - since)

    def _old_backups(self, now: float, *, dry_run: bool) -> int:
        """Delete copies that were made before a schema change and are older than five weeks."""
        gone = 0
        for path in (self._home / "backups").glob("*.sqlite3"):
            try:
                made = int(
                    path.stem.rpartition("-")[2]
                )  # what is forgotten in it makes the file newer
                if made < now - BACKUP_SECONDS:
                    if not dry_run:
                        path.unlink(missing_ok=True)
                    gone += 1
            except ValueError:
                continue  # it has a name that is not ours
            except OSError as error:
                log.warning("an old copy cannot be deleted", extra={"why": error.strerror})
        return gone

    async def _retire(self, connection: AsyncConnection, now: float) -> dict[str, int]:
        await self._end(connection, now)
        worded = _worded(now, self._terminal_seconds)
        for chunk in chunks(list(await connection.scalars(worded))):
            owed = Delivery.job_id.in_(chunk), Delivery.state != "delivered"
            await connection.execute(sa.update(Delivery).where(*owed).values(state="lost"))
        private = sa.select(JobRow.id).join(RequestRow).join(Delivery)
        over = JobRow.state.in_(FINAL_STATES), Delivery.state.in_(("lost", "delivered"))
        found = list(await connection.scalars(private.where(RequestRow.private, *over)))
        counts = {"private": await erase_private(self._ledger, connection, found)}
        jobs = list(await connection.scalars(worded))
        pictures = await blank_jobs(self._ledger, connection, jobs)
        counts |= {"blanked": len(jobs), "pictures": pictures}
        await _disown(connection, now)
        for name, table, seconds, empty in NAMELESS:
            full = sa.or_(*(getattr(table, column).is_not(None) for column in empty))
            gone = sa.update(table).where(_old(table.at, now, seconds), full).values(empty)
            counts[name] = (await connection.execute(gone)).rowcount
        for name, at, seconds in (
            *EXPIRING,
            *(e for o in self._ledger.observers for e in o.expiring),
        ):
            gone_rows = sa.delete(at.class_).where(_old(at, now, seconds))
            counts[name] = (await connection.execute(gone_rows)).rowcount
        return counts

    async def _end(self, connection: AsyncConnection, now: float) -> None:
        """Fail what nobody has ended in all that time; whoever still works on it comes too late."""
        for job in list(await connection.scalars(_unended(now))):
            await connection.execute(sa.delete(Ticket).where(Ticket.job_id == job))
            failed = {"state": "failed", "finished_at": now}
            still = sa.update(JobRow).where(JobRow.id == job, JobRow.state.not_in(FINAL_STATES))
            if not (await connection.execute(still.values(failed))).rowcount:
                continue
            for observer in self._ledger.observers:
                await observer.finished(connection, job, None, None)


def _old(at: Any, now: float, seconds: Any) -> sa.ColumnElement[bool]:
    """Tell whether a time is so long ago, or cannot be."""
    return sa.or_(at < now - seconds, at > now + AHEAD_SECONDS)


def _unended(now: float) -> sa.Select[str]:
    return sa.select(JobRow.id).where(
        JobRow.state.not_in(FINAL_STATES), _old(JobRow.accepted_at, now, KEEP_SECONDS)
    )


async def _disown(connection: AsyncConnection, now: float) -> None:
    """Make requests without a word whose time is over nobody's: by their exact times the
    account would lead to the study's rows still. Of a group its lookup stays, so that what stands there
    can be reported and deleted; a chat of two names its person.

    One whose words somebody has taken up waits, so that /forget reaches them.
    """
    nobody = {"id": str(ULID()), "lookup": NOBODY, "platform": "", "platform_id": ""}
    await add(connection, Asker, {**nobody, "created_at": now})
    name = sa.select(Asker.id).where(Asker.lookup == NOBODY).scalar_subquery()
    row = RequestRow
    young = sa.select(JobRow.request_id).where(
        sa.or_(JobRow.state.not_in(FINAL_STATES), sa.not_(_over(now)))
    )
    near = sa.select(row.parent.label("id")).where(row.text.is_not(None), row.parent.is_not(None))
    above = near.cte(recursive=True)
    further = sa.select(row.parent).join(above, row.id == above.c.id)
    taken_up = above.union(further.where(row.parent.is_not(None)))
    bare = row.typed.is_(None), row.text.is_(None), row.asker_id != name
    others = row.id.not_in(young), row.id.not_in(sa.select(taken_up.c.id))
    group = sa.case((row.alone == sa.false(), row.place_lookup), else_="")
    nowhere = {"place": "", "place_lookup": group, "conversation": None}
    await connection.execute(sa.update(row).where(*bare, *others).values(asker_id=name, **nowhere))


def _over(now: float, seconds: Any = KEEP_SECONDS) -> sa.ColumnElement[bool]:
    """Tell whether a job has had its time. Of what failed nothing is waited for."""
    late = sa.and_(JobRow.state != "finished", _old(JobRow.accepted_at, now, seconds))
    return sa.or_(_old(JobRow.finished_at, now, seconds), late)


def _worded(now: float, terminal: float) -> sa.Select[str]:
    """Select the jobs that have had their time, and have words still."""
    columns = (*(getattr(RequestRow, name) for name in BLANK_REQUEST), JobRow.prompt, JobRow.error)
    words = sa.or_(*(column.is_not(None) for column in columns))
    ended = JobRow.state.in_(FINAL_STATES)
    kept = sa.case((RequestRow.platform == "terminal", terminal), else_=KEEP_SECONDS)
    return sa.select(JobRow.id).join(RequestRow).where(ended, _over(now, kept), words)

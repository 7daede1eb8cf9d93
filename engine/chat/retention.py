"""What has had its time in the ledger, and how it goes: words and pictures, and who judged what.

A time that lies over a day ahead was written by a clock that was wrong, and counts as old.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from engine.events import FINAL_STATES
from engine.ledger.chat_tables import BucketRow, MessageRow, Rating, Report, SeenRow, VerdictRow
from engine.ledger.erasure import BLANK_REQUEST, blank_jobs, chunks, erase_private
from engine.ledger.picture_cleanup import discard
from engine.ledger.tables import Asker, Delivery, JobRow, RequestRow
from engine.ledger.transactions import add
from engine.queues.postgres.tables import Ticket
from engine.study import observer
from engine.study.tables import LinkCodeRow

KEEP_SECONDS = 72 * 3600.0  # words and pictures
SEEN_SECONDS = 48 * 3600.0  # Telegram repeats an update for 24 h at most
BACKUP_SECONDS = 35 * 86400.0
CODES_SECONDS = 86400.0  # after a one-time code has expired
NOBODY = "nobody"  # no lookup, which has 64 characters
AHEAD_SECONDS = 86400.0  # more than clocks differ

# What loses its person when its words have gone, and what is deleted.
NAMELESS: tuple[tuple[str, Any, float, dict[str, None]], ...] = (
    ("reports", Report, BACKUP_SECONDS, {"reporter": None, "reason": None}),
    ("ratings", Rating, KEEP_SECONDS, {"rater": None}),
    ("verdicts", VerdictRow, KEEP_SECONDS, {"asker": None, "job_id": None, "reasons": None}),
)
DELETED: tuple[tuple[str, Any, Any, float], ...] = (
    ("updates", SeenRow, SeenRow.at, SEEN_SECONDS),
    ("messages", MessageRow, MessageRow.at, KEEP_SECONDS),
    ("quotas", BucketRow, BucketRow.at, KEEP_SECONDS),  # they are full by then, and tell a time
    ("codes", LinkCodeRow, LinkCodeRow.expires_at, CODES_SECONDS),
)


def old(at: Any, now: float, seconds: float) -> sa.ColumnElement[bool]:
    """Whether a time is so long ago, or cannot be."""
    return sa.or_(at < now - seconds, at > now + AHEAD_SECONDS)


def unended(now: float) -> sa.Select[str]:
    """The jobs that nobody has ended in all the time that words are kept."""
    return sa.select(JobRow.id).where(
        JobRow.state.not_in(FINAL_STATES), old(JobRow.accepted_at, now, KEEP_SECONDS)
    )


async def retire(connection: AsyncConnection, now: float) -> dict[str, int]:
    """Let go of whatever has had its time; how much, by the names of forgetting.Cleaned."""
    await _end(connection, now)
    for chunk in chunks(list(await connection.scalars(_worded(now)))):
        owed = sa.update(Delivery).where(Delivery.job_id.in_(chunk), Delivery.state != "delivered")
        await connection.execute(owed.values(state="lost"))
    private = sa.select(JobRow.id).join(RequestRow).join(Delivery)
    over = JobRow.state.in_(FINAL_STATES), Delivery.state.in_(("lost", "delivered"))
    found = list(await connection.scalars(private.where(RequestRow.private, *over)))
    counts = {"private": await erase_private(connection, found, now)}
    jobs = list(await connection.scalars(_worded(now)))
    files = await blank_jobs(connection, jobs)
    counts |= {"blanked": len(jobs), "pictures": await discard(connection, files, now)}
    await _disown(connection, now)
    for name, table, seconds, empty in NAMELESS:
        full = sa.or_(*(getattr(table, column).is_not(None) for column in empty))
        gone = sa.update(table).where(old(table.at, now, seconds), full).values(empty)
        counts[name] = (await connection.execute(gone)).rowcount
    for name, table, at, seconds in DELETED:
        gone_rows = sa.delete(table).where(old(at, now, seconds))
        counts[name] = (await connection.execute(gone_rows)).rowcount
    return counts


async def _end(connection: AsyncConnection, now: float) -> None:
    """What nobody has ended in all that time has failed; whoever still works on it comes too late."""
    for job in list(await connection.scalars(unended(now))):
        await connection.execute(sa.delete(Ticket).where(Ticket.job_id == job))
        failed = {"state": "failed", "finished_at": now}
        await connection.execute(sa.update(JobRow).where(JobRow.id == job).values(failed))
        await observer.finished(connection, job, None, None)


async def _disown(connection: AsyncConnection, now: float) -> None:
    """Requests without a word whose time is over are nobody's from now on: by their exact times the
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


def _over(now: float) -> sa.ColumnElement[bool]:
    """Whether a job has had its time. Of what failed nothing is waited for."""
    late = sa.and_(JobRow.state != "finished", old(JobRow.accepted_at, now, KEEP_SECONDS))
    return sa.or_(old(JobRow.finished_at, now, KEEP_SECONDS), late)


def _worded(now: float) -> sa.Select[str]:
    """The jobs that have had their time, and words still."""
    columns = (*(getattr(RequestRow, name) for name in BLANK_REQUEST), JobRow.prompt, JobRow.error)
    return (
        sa.select(JobRow.id)
        .join(RequestRow, RequestRow.id == JobRow.request_id)
        .where(
            JobRow.state.in_(FINAL_STATES),
            _over(now),
            sa.or_(*(column.is_not(None) for column in columns)),
        )
    )

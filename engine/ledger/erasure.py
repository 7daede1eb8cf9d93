"""Taking content, or whole requests, out of the ledger: for retention, /forget and --private.

All of it works in the caller's transaction: pictures that lost their row are written down there, to be
thrown away after it, and the observers are told which jobs nothing may lead to any more.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.chat_tables import MessageRow, Rating, Report, VerdictRow
from engine.ledger.picture_cleanup import discard
from engine.ledger.tables import Delivery, JobRow, Output, PictureRow, RequestRow
from engine.ledger.transactions import Database, chunks

# What /again and /continue copy from the request that they take up: its asker's words.
BORROWED = ("text", "beginning", "style", "drawing", "memory", "route")
BLANK_REQUEST: dict[str, Any] = dict.fromkeys(("typed", *BORROWED), None)
BLANK_JOB: dict[str, Any] = dict.fromkeys(("prompt", "drawing", "error"), None)


async def erase_requests(
    database: Database, connection: AsyncConnection, requests: Sequence[str]
) -> int:
    """Delete the requests with all that hangs on them; how many pictures that discards."""
    return sum([await _erase(database, connection, chunk) for chunk in chunks(requests)])


async def erase_private(
    database: Database, connection: AsyncConnection, jobs: Sequence[str]
) -> int:
    """Erase those of the jobs' requests that were to be private; how many those were."""
    private = sa.select(RequestRow.id).join(JobRow)
    found: list[str] = []
    for chunk in chunks(jobs):
        wanted = private.where(JobRow.id.in_(chunk), RequestRow.private).distinct()
        found += await connection.scalars(wanted)
    await erase_requests(database, connection, found)
    return len(found)


async def _erase(database: Database, connection: AsyncConnection, requests: Sequence[str]) -> int:
    asked = sa.select(JobRow.id).where(JobRow.request_id.in_(requests))
    jobs = list(await connection.scalars(asked))
    await cut_off_requests(connection, requests)
    pictures = await _discard_of(database, connection, jobs)
    for table in (Output, PictureRow, Delivery, MessageRow, Rating, Report, VerdictRow):
        await connection.execute(sa.delete(table).where(table.job_id.in_(jobs)))
    for observer in database.observers:
        await observer.erased(connection, jobs)
    await connection.execute(sa.delete(JobRow).where(JobRow.id.in_(jobs)))
    children = sa.update(RequestRow).where(RequestRow.parent.in_(requests))
    await connection.execute(children.values(parent=None))
    await connection.execute(sa.delete(RequestRow).where(RequestRow.id.in_(requests)))
    return pictures


def followers(table: Any, starts: Sequence[str] | sa.Select[Any]) -> sa.Select[Any]:
    """Select the rows that go on from these, however far, by their column `parent`."""
    first = sa.select(table.c.id).where(table.c.parent.in_(starts)).cte(recursive=True)
    further = sa.select(table.c.id).join(first, table.c.parent == first.c.id)
    return sa.select(first.union(further).c.id)


def cut_off(
    table: Any, starts: Sequence[str] | sa.Select[Any], columns: Sequence[str]
) -> sa.Update:
    """Take the words that it took over from whatever goes on from these rows, however far."""
    line = table.c.id.in_(followers(table, starts))
    return sa.update(table).where(line).values(emptied(table, columns))


def emptied(table: Any, columns: Sequence[str]) -> dict[str, Any]:
    """Empty those of the columns that the table has; an older one's notes must be a list."""
    nothing: Any = sa.literal_column("'[]'")
    there = [table.c[name] for name in columns if name in table.c]
    return {column.name: None if column.nullable else nothing for column in there}


async def cut_off_requests(
    connection: AsyncConnection, requests: Sequence[str], but_of: str = ""
) -> None:
    """`cut_off` for requests, jobs and answers, but not `but_of`'s; a running job keeps its prompt."""
    theirs = sa.select(RequestRow.id).where(RequestRow.asker_id != but_of)
    for chunk in chunks(requests):
        line = followers(RequestRow.__table__, chunk)
        jobs = sa.select(JobRow.id).where(
            JobRow.request_id.in_(line), JobRow.request_id.in_(theirs)
        )
        words = cut_off(RequestRow.__table__, chunk, BORROWED).where(RequestRow.asker_id != but_of)
        await connection.execute(words)
        over = sa.update(JobRow).where(JobRow.id.in_(jobs), JobRow.finished_at.is_not(None))
        await connection.execute(over.values(prompt=None, drawing=None))
        await connection.execute(
            sa.update(Output).where(Output.job_id.in_(jobs)).values(notes=None)
        )


async def _discard_of(database: Database, connection: AsyncConnection, jobs: Sequence[str]) -> int:
    names = sa.select(PictureRow.media).where(PictureRow.job_id.in_(jobs), PictureRow.media != "")
    return await discard(connection, list(await connection.scalars(names)), database.clock())


async def blank_jobs(database: Database, connection: AsyncConnection, jobs: Sequence[str]) -> int:
    """Take the words and pictures out of jobs; counts and times stay. How many pictures that discards.

    What observers keep of those that have ended is alone from now on. What a job that still runs makes
    is not kept either: see Ledger.finish.
    """
    pictures = 0
    for chunk in chunks(jobs):
        pictures += await _discard_of(database, connection, chunk)
        asked = sa.select(JobRow.request_id).where(JobRow.id.in_(chunk))
        changes = (
            sa.update(RequestRow).where(RequestRow.id.in_(asked)).values(**BLANK_REQUEST),
            sa.update(JobRow).where(JobRow.id.in_(chunk)).values(**BLANK_JOB),
            sa.update(Output).where(Output.job_id.in_(chunk)).values(text=None, notes=None),
            sa.update(PictureRow).where(PictureRow.job_id.in_(chunk)).values(media=None),
            sa.update(Delivery).where(Delivery.job_id.in_(chunk)).values(address=None),
        )
        for change in changes:
            await connection.execute(change)
        over = sa.select(JobRow.id).where(JobRow.id.in_(chunk), JobRow.finished_at.is_not(None))
        ended = list(await connection.scalars(over))
        for observer in database.observers:
            await observer.erased(connection, ended)
    return pictures


async def stays(connection: AsyncConnection, job: str, media: Sequence[str], now: float) -> bool:
    """Whether what a job made stays on record: not when its request was blanked while it ran; then its
    pictures go. Of one that only lost the words it took over (cut_off) the prompt goes now."""
    asked = sa.select(RequestRow.typed, RequestRow.text).join(JobRow)
    row = (await connection.execute(asked.where(JobRow.id == job))).one()
    if row.text is None:
        bare = sa.update(JobRow).where(JobRow.id == job).values(prompt=None, drawing=None)
        await connection.execute(bare)
    if row.typed is None:
        await discard(connection, media, now)
    return row.typed is not None


async def still_there(connection: AsyncConnection, parent: str) -> str | None:
    """Find the request that another continues, held until that is written; None if it was forgotten."""
    query = sa.select(RequestRow.id).where(RequestRow.id == parent, RequestRow.route.is_not(None))
    return await connection.scalar(query.with_for_update(read=True, key_share=True))

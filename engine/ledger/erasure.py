"""Taking content, or whole requests, out of the ledger: for retention, /forget and --private."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.chat_tables import MessageRow, Rating, Report, VerdictRow
from engine.ledger.picture_cleanup import discard
from engine.ledger.tables import Delivery, JobRow, Output, PictureRow, RequestRow
from engine.study.tables import InteractionRow

AT_ONCE = 500  # rows a statement; SQLite binds 32,766 values at most
# What /again and /continue copy from the request that they take up: its asker's words.
BORROWED = ("text", "beginning", "style", "drawing", "route")
BLANK_REQUEST: dict[str, Any] = dict.fromkeys(("typed", *BORROWED), None)
BLANK_JOB: dict[str, Any] = dict.fromkeys(("prompt", "drawing", "error"), None)


async def erase_requests(connection: AsyncConnection, requests: Sequence[str]) -> list[str]:
    """Delete the requests with all that hangs on them; returns the names of their pictures.

    What others went on to write from them stays, but for the words that it took over.
    """
    files: list[str] = []
    for chunk in chunks(requests):
        files += await _erase(connection, chunk)
    return files


async def erase_private(connection: AsyncConnection, jobs: Sequence[str], now: float) -> int:
    """Nothing stays of those of the jobs' requests that were to be private; how many those were."""
    private = sa.select(RequestRow.id).join(JobRow, JobRow.request_id == RequestRow.id)
    found: list[str] = []
    for chunk in chunks(jobs):
        wanted = private.where(JobRow.id.in_(chunk), RequestRow.private).distinct()
        found += await connection.scalars(wanted)
    await discard(connection, await erase_requests(connection, found), now)
    return len(found)


async def _erase(connection: AsyncConnection, requests: Sequence[str]) -> list[str]:
    jobs = list(
        await connection.scalars(sa.select(JobRow.id).where(JobRow.request_id.in_(requests)))
    )
    await cut_off(connection, requests)
    files = await _pictures(connection, jobs)
    for table in (Output, PictureRow, Delivery, MessageRow, Rating, Report, VerdictRow):
        await connection.execute(sa.delete(table).where(table.job_id.in_(jobs)))
    await connection.execute(unlink(jobs))
    await connection.execute(sa.delete(JobRow).where(JobRow.id.in_(jobs)))
    await connection.execute(
        sa.update(RequestRow).where(RequestRow.parent.in_(requests)).values(parent=None)
    )
    await connection.execute(sa.delete(RequestRow).where(RequestRow.id.in_(requests)))
    return files


async def cut_off(connection: AsyncConnection, requests: Sequence[str], but_of: str = "") -> None:
    """Whatever goes on from these, however far, loses the words that it took over; `but_of` is the
    asker whose own may keep them.

    A job that runs needs its prompt; `Ledger.finish` takes it.
    """
    top = sa.select(RequestRow.id).where(RequestRow.parent.in_(requests)).cte(recursive=True)
    line = top.union(sa.select(RequestRow.id).join(top, RequestRow.parent == top.c.id))
    mine = sa.select(RequestRow.id).where(RequestRow.asker_id == but_of)
    found = list(await connection.scalars(sa.select(line.c.id).where(line.c.id.not_in(mine))))
    for chunk in chunks(found):
        await connection.execute(
            sa.update(RequestRow)
            .where(RequestRow.id.in_(chunk))
            .values(dict.fromkeys(BORROWED, None))
        )
        await connection.execute(
            sa.update(JobRow)
            .where(JobRow.request_id.in_(chunk), JobRow.finished_at.is_not(None))
            .values(prompt=None, drawing=None)
        )
        theirs = Output.job_id.in_(sa.select(JobRow.id).where(JobRow.request_id.in_(chunk)))
        await connection.execute(sa.update(Output).where(theirs).values(notes=None))


async def _pictures(connection: AsyncConnection, jobs: Sequence[str]) -> list[str]:
    found = await connection.scalars(
        sa.select(PictureRow.media).where(
            PictureRow.job_id.in_(jobs), PictureRow.media.is_not(None)
        )
    )
    return [name for name in found if name]


async def blank_jobs(connection: AsyncConnection, jobs: Sequence[str]) -> list[str]:
    """Take the words and pictures out of jobs; counts and times stay.

    Returns the names of the pictures. The study's record of them, if there is one, is alone from now
    on. What a job that still runs makes is not kept either: see Ledger.finish.
    """
    files: list[str] = []
    for chunk in chunks(jobs):
        files += await _pictures(connection, chunk)
        asked = sa.select(JobRow.request_id).where(JobRow.id.in_(chunk))
        changes = (
            sa.update(RequestRow).where(RequestRow.id.in_(asked)).values(**BLANK_REQUEST),
            sa.update(JobRow).where(JobRow.id.in_(chunk)).values(**BLANK_JOB),
            sa.update(Output).where(Output.job_id.in_(chunk)).values(text=None, notes=None),
            sa.update(PictureRow).where(PictureRow.job_id.in_(chunk)).values(media=None),
            sa.update(Delivery).where(Delivery.job_id.in_(chunk)).values(address=None),
            unlink(
                sa.select(JobRow.id).where(JobRow.id.in_(chunk), JobRow.finished_at.is_not(None))
            ),
        )
        for change in changes:
            await connection.execute(change)
    return files


async def stays(connection: AsyncConnection, job: str, media: Sequence[str], now: float) -> bool:
    """Whether what a job made stays on record: not when its request was blanked while it ran; then its
    pictures go. Of one that only lost the words it took over (cut_off) the prompt goes now."""
    asked = sa.select(RequestRow.typed, RequestRow.text).join(
        JobRow, JobRow.request_id == RequestRow.id
    )
    row = (await connection.execute(asked.where(JobRow.id == job))).one()
    if row.text is None:
        bare = sa.update(JobRow).where(JobRow.id == job).values(prompt=None, drawing=None)
        await connection.execute(bare)
    if row.typed is None:
        await discard(connection, media, now)
    return row.typed is not None


async def still_there(connection: AsyncConnection, parent: str | None) -> str | None:
    """The request that another continues, held until that is written; None if it was forgotten."""
    query = sa.select(RequestRow.id).where(RequestRow.id == parent, RequestRow.route.is_not(None))
    held = query.with_for_update(read=True, key_share=True)
    return None if parent is None else await connection.scalar(held)


def unlink(jobs: Sequence[str] | sa.Select[str]) -> sa.Update:
    """No way leads from the study's rows to these jobs any more."""
    return sa.update(InteractionRow).where(InteractionRow.job_id.in_(jobs)).values(job_id=None)


def chunks(names: Sequence[str]) -> list[Sequence[str]]:
    """So many that a statement takes them."""
    return [names[start : start + AT_ONCE] for start in range(0, len(names), AT_ONCE)]

"""Taking content, or whole requests, out of the ledger: for retention, /forget and --private."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.desk.tables import MessageRow, Rating, Report, VerdictRow
from engine.study.tables import InteractionRow
from engine.tables import Delivery, JobRow, Output, PictureRow, RequestRow

AT_ONCE = 500  # rows a statement; SQLite binds 32,766 values at most
BLANK_REQUEST: dict[str, Any] = dict.fromkeys(
    ("typed", "text", "beginning", "style", "drawing", "route"), None
)
BLANK_JOB: dict[str, Any] = dict.fromkeys(("prompt", "drawing", "error"), None)


async def erase_requests(connection: AsyncConnection, requests: Sequence[str]) -> list[str]:
    """Delete the requests with all that hangs on them; returns the names of their pictures.

    What others went on to write from them stays, but for the words that it began with.
    """
    files: list[str] = []
    for chunk in _chunks(requests):
        files += await _erase(connection, chunk)
    return files


async def _erase(connection: AsyncConnection, requests: Sequence[str]) -> list[str]:
    jobs = list(
        await connection.scalars(sa.select(JobRow.id).where(JobRow.request_id.in_(requests)))
    )
    await _cut_off(connection, requests)
    files = await _pictures(connection, jobs)
    for table in (Output, PictureRow, Delivery, MessageRow, Rating, Report, VerdictRow):
        await connection.execute(sa.delete(table).where(table.job_id.in_(jobs)))
    await connection.execute(_unlink(jobs))
    await connection.execute(sa.delete(JobRow).where(JobRow.id.in_(jobs)))
    await connection.execute(sa.delete(RequestRow).where(RequestRow.id.in_(requests)))
    return files


async def _cut_off(connection: AsyncConnection, requests: Sequence[str]) -> None:
    """Requests that continue these lose the words they began with, and so do those after them."""
    seen = set(requests)
    parents: Sequence[str] = requests
    while parents:
        found = await connection.scalars(
            sa.select(RequestRow.id).where(RequestRow.parent.in_(parents))
        )
        parents = [name for name in found if name not in seen]
        seen.update(parents)
        for chunk in _chunks(parents):
            await connection.execute(
                sa.update(RequestRow).where(RequestRow.id.in_(chunk)).values(beginning=None)
            )
            await connection.execute(
                sa.update(JobRow)
                .where(JobRow.request_id.in_(chunk), JobRow.finished_at.is_not(None))
                .values(prompt=None)
            )
    await connection.execute(
        sa.update(RequestRow).where(RequestRow.parent.in_(requests)).values(parent=None)
    )


async def _pictures(connection: AsyncConnection, jobs: Sequence[str]) -> list[str]:
    found = await connection.scalars(
        sa.select(PictureRow.media).where(
            PictureRow.job_id.in_(jobs), PictureRow.media.is_not(None)
        )
    )
    return [name for name in found if name]


async def blank_jobs(connection: AsyncConnection, jobs: Sequence[str]) -> list[str]:
    """Take the words and pictures out of finished jobs; counts and times stay.

    Returns the names of the pictures. The study's record of them, if there is one, is alone from now on.
    """
    files: list[str] = []
    for chunk in _chunks(jobs):
        files += await _pictures(connection, chunk)
        asked = sa.select(JobRow.request_id).where(JobRow.id.in_(chunk))
        changes = (
            sa.update(RequestRow).where(RequestRow.id.in_(asked)).values(**BLANK_REQUEST),
            sa.update(JobRow).where(JobRow.id.in_(chunk)).values(**BLANK_JOB),
            sa.update(Output).where(Output.job_id.in_(chunk)).values(text=None, notes=[]),
            sa.update(PictureRow).where(PictureRow.job_id.in_(chunk)).values(media=None),
            sa.update(Delivery).where(Delivery.job_id.in_(chunk)).values(address=None),
            _unlink(chunk),
        )
        for change in changes:
            await connection.execute(change)
    return files


def _unlink(jobs: Sequence[str]) -> sa.Update:
    """No way leads from the study's rows to these jobs any more."""
    return sa.update(InteractionRow).where(InteractionRow.job_id.in_(jobs)).values(job_id=None)


def _chunks(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + AT_ONCE] for start in range(0, len(names), AT_ONCE)]

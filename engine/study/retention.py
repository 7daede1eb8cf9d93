"""The record of retention: each round, what it took, and whether there has been one of late."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from engine.ledger.tables import RequestRow
from engine.ledger.transactions import Database
from engine.study.tables import RetentionRow, StudyRow

ALARM_SECONDS = 48 * 3600.0


async def note(
    connection: AsyncConnection, now: float, counts: dict[str, Any], *, dry_run: bool
) -> None:
    """Write a round down."""
    values = {"id": str(ULID()), "at": now, "dry_run": dry_run, "counts": counts}
    await connection.execute(sa.insert(RetentionRow).values(values))


async def silence(book: Database) -> float | None:
    """Seconds since the last round; since the first thing there was to keep, if there was no round.

    None while there is nothing to keep. Never less than 0, whatever the clock did.
    """
    last = sa.select(sa.func.max(RetentionRow.at)).where(RetentionRow.dry_run.is_(False))
    async with book.reading() as connection:
        since = await connection.scalar(last)
        if since is None:
            asked = await connection.scalar(sa.select(sa.func.min(RequestRow.accepted_at)))
            opened = await connection.scalar(sa.select(sa.func.min(StudyRow.opened_at)))
            since = min((at for at in (asked, opened) if at is not None), default=None)
    return None if since is None else max(0.0, book.clock() - since)

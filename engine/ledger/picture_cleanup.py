"""Deleting pictures that no row speaks of any more, now or as soon as their store can be reached.

Whoever lets go of a picture's row writes the picture's name down in the same transaction (`discard`),
so that neither a kill nor a transaction that is repeated leaves a picture behind.
"""

import asyncio
import logging
from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import MediaError
from engine.ledger.tables import Discard, PictureRow
from engine.ledger.transactions import Database, add
from engine.media.store import MediaStore

AT_ONCE = 500  # names a statement
SAFE_SECONDS = 3600.0  # a picture this old is no longer one whose row is about to be written
REFUSALS = 3  # in a row: the store is away, and the rest waits for the next time

log = logging.getLogger(__name__)


async def discard(connection: AsyncConnection, files: Sequence[str], now: float) -> int:
    """Write down that these pictures are to go; how many were not written down already."""
    return sum(
        [await add(connection, Discard, {"media": n, "at": now}) for n in sorted(set(files))]
    )


async def throw_away(database: Database, media: MediaStore) -> int:
    """Delete what was written down, but for what an answer has; how many pictures went.

    What the store refuses to let go of stays written down, for the next time.
    """
    gone, last, refused = 0, "", 0
    while True:
        query = sa.select(Discard.media).where(Discard.media > last).order_by(Discard.media)
        names = await database.scalars(query.limit(AT_ONCE))
        if not names:
            return gone
        last = names[-1]
        kept = await _kept(database, names)
        deleted = []
        for name in names:
            if name not in kept and refused < REFUSALS:
                done = await _deleted(media, name)
                deleted += [name] if done else []
                refused = 0 if done else refused + 1
        await database.change(sa.delete(Discard).where(Discard.media.in_([*deleted, *kept])))
        gone += len(deleted)
        if refused >= REFUSALS:
            return gone


async def _deleted(media: MediaStore, name: str) -> bool:
    try:
        await asyncio.to_thread(media.delete, name)
    except MediaError as error:
        log.error("a picture is not deleted yet", extra={"why": str(error)})
        return False
    return True


async def sweep(database: Database, media: MediaStore, older: float = 0.0) -> int:
    """Delete every picture, older than so many seconds, that no row speaks of (a kill between picture
    and commit); how many."""
    names = await asyncio.to_thread(media.names, older)
    kept = await _kept(database, names)
    async with database.writing() as connection:
        await discard(connection, [name for name in names if name not in kept], database.clock())
    return await throw_away(database, media)


async def _kept(database: Database, names: Sequence[str]) -> set[str]:
    columns = [PictureRow.media, *(c for observer in database.observers for c in observer.pictures)]
    kept: set[str] = set()
    async with database.reading() as connection:
        for start in range(0, len(names), AT_ONCE):
            chunk = names[start : start + AT_ONCE]
            for column in columns:
                query = sa.select(column).where(column.in_(chunk))
                kept.update(name for name in await connection.scalars(query) if name)
    return kept

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
from engine.ledger.transactions import AT_ONCE, Database, add, chunks
from engine.media.store import PictureStore

SAFE_SECONDS = 3600.0  # a picture this old is no longer one whose row is about to be written
REFUSALS = 3  # in a row: the store is away, and the rest waits for the next time

log = logging.getLogger(__name__)


async def discard(connection: AsyncConnection, files: Sequence[str], now: float) -> int:
    """Write down that these pictures are to go; how many were not written down already."""
    return sum(
        [await add(connection, Discard, {"media": n, "at": now}) for n in sorted(set(files))]
    )


class PictureCleanup(Database):
    media: PictureStore

    async def throw_away(self) -> int:
        """Delete what was written down, but for what an answer has; how many pictures went."""
        gone, last, refused = 0, "", 0
        while True:
            query = sa.select(Discard.media).where(Discard.media > last).order_by(Discard.media)
            names = await self.scalars(query.limit(AT_ONCE))
            if not names:
                return gone
            last = names[-1]
            kept = await self._kept(names)
            deleted = []
            for name in names:
                if name not in kept and refused < REFUSALS:
                    done = await self._delete(name)
                    deleted += [name] if done else []
                    refused = 0 if done else refused + 1
            await self.change(sa.delete(Discard).where(Discard.media.in_([*deleted, *kept])))
            gone += len(deleted)
            if refused >= REFUSALS:
                return gone

    async def _delete(self, name: str) -> bool:
        try:
            await asyncio.to_thread(self.media.delete, name)
        except MediaError as error:
            log.error("a picture is not deleted yet", extra={"why": str(error)})
            return False
        return True

    async def sweep(self, older: float = 0.0) -> int:
        """Delete every picture `older` than these seconds that no row names; how many."""
        names = await asyncio.to_thread(self.media.names, older)
        kept = await self._kept(names)
        async with self.writing() as connection:
            await discard(connection, [name for name in names if name not in kept], self.clock())
        return await self.throw_away()

    async def _kept(self, names: Sequence[str]) -> set[str]:
        """Find those of them that an answer has, or an observer."""
        columns = [PictureRow.media, *(c for observer in self.observers for c in observer.pictures)]
        kept: set[str] = set()
        async with self.reading() as connection:
            for chunk in chunks(names):
                for column in columns:
                    query = sa.select(column).where(column.in_(chunk))
                    kept.update(name for name in await connection.scalars(query) if name)
        return kept

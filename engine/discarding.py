"""Deleting pictures that no row speaks of any more, now or as soon as their store can be reached."""

import asyncio
import logging
from collections.abc import Sequence

import sqlalchemy as sa

from engine.book import Book, add
from engine.errors import MediaError
from engine.media import MediaStore
from engine.study.experiment_tables import ItemRow
from engine.study.tables import StudyPictureRow
from engine.tables import Discard, PictureRow

AT_ONCE = 500  # names a statement
SAFE_SECONDS = 3600.0  # a picture this old is no longer one whose row is about to be written

log = logging.getLogger(__name__)


async def throw_away(book: Book, media: MediaStore, files: Sequence[str]) -> int:
    """Delete the pictures of these names, but for those that an answer has; how many went.

    What its store refuses to let go of is written down, for `throw_again`.
    """
    gone = 0
    for name in sorted(set(files) - await _kept(book, files)):
        try:
            await asyncio.to_thread(media.delete, name)
            gone += 1
        except MediaError as error:
            log.error("a picture is not deleted yet", extra={"why": str(error)})
            async with book.writing() as connection:
                await add(connection, Discard, {"media": name, "at": book.clock()})
    return gone


async def throw_again(book: Book, media: MediaStore) -> int:
    """Delete what the store did not let go of before; how many went now."""
    async with book.reading() as connection:
        names = list(await connection.scalars(sa.select(Discard.media).limit(AT_ONCE)))
    kept = await _kept(book, names)
    gone = 0
    for name in names:
        if name not in kept:
            try:
                await asyncio.to_thread(media.delete, name)
            except MediaError:
                break  # the store is still away
            gone += 1
        async with book.writing() as connection:
            await connection.execute(sa.delete(Discard).where(Discard.media == name))
    return gone


async def sweep(book: Book, media: MediaStore, older: float = 0.0) -> int:
    """Delete every picture, older than so many seconds, that no row speaks of (a kill between picture
    and commit, or between commit and deletion); how many."""
    names = await asyncio.to_thread(media.names, older)
    return await throw_away(book, media, names)


async def _kept(book: Book, names: Sequence[str]) -> set[str]:
    """Those of them that an answer has, or the study."""
    kept: set[str] = set()
    async with book.reading() as connection:
        for start in range(0, len(names), AT_ONCE):
            chunk = names[start : start + AT_ONCE]
            for column in (PictureRow.media, StudyPictureRow.media, ItemRow.media):
                query = sa.select(column).where(column.in_(chunk))
                kept.update(name for name in await connection.scalars(query) if name)
    return kept

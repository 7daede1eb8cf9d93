"""Reading and writing one database, with its vault: what the ledger and the desk are made on."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.errors import LedgerError
from engine.vault import vault_of

TURN_SECONDS = 10.0  # a writer waits this long for those before it


class Book:
    """Transactions for its sub-classes and parts. `clock` gives UTC seconds."""

    def __init__(self, database: AsyncEngine, clock: Callable[[], float] = time.time) -> None:
        self.vault = vault_of(database.dialect)
        self.clock = clock
        self.dialect = database.dialect.name
        self._read = database
        self._write = database.execution_options(writing=True)
        self._turn = asyncio.Lock()  # one writer at a time: SQLite has no better order

    async def close(self) -> None:
        """Let go of the database."""
        await self._read.dispose()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """A transaction, committed at the end. Raises LedgerError."""
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise LedgerError("The ledger is too busy to be written; try again.") from None
        try:
            async with self._write.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise LedgerError(f"The ledger cannot be written: {_reason(error)}") from error
        finally:
            self._turn.release()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """A connection that takes no lock. Raises LedgerError."""
        try:
            async with self._read.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise LedgerError(f"The ledger cannot be read: {_reason(error)}") from error

    def place(self, platform: str, place: str) -> str:
        """The keyed lookup of a place."""
        return self.vault.lookup(f"{platform} place", place)


def _reason(error: SQLAlchemyError) -> str:
    """The driver's own words, without the statement and its values."""
    return str(getattr(error, "orig", None) or type(error).__name__)

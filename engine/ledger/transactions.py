"""Transactions on one database, with its vault: what the ledger, the chat and the study are made on.

A SQLite file has one writer at a time, in this process and, by its lock, among all. On a server many
processes write at once: there a check and the write that follows from it are one statement (`add`,
`put`), or hold the row in between (with_for_update), or are undone by the server and repeated.
"""

import asyncio
import functools
import random
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, TypeVarTuple

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from engine.errors import LedgerError
from engine.ledger.errors import UNDONE, explain, reason, sqlstate_of
from engine.ledger.postgres import name_of
from engine.vault import vault_of

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

    from engine.ledger.observers import Observer

TURN_SECONDS = 10.0  # a writer waits this long for those before it
TRIES = 6
PAUSE_SECONDS = 0.02  # before the second try; twice as long before each further one
AT_ONCE = 500  # rows a statement; SQLite binds 32,766 values at most

Given = ParamSpec("Given")
Result = TypeVar("Result")
Columns = TypeVarTuple("Columns")
Method = Callable[Given, Coroutine[Any, Any, Result]]


class UndoneError(LedgerError):
    """The transaction left no trace, by no fault of its own: it may be tried again."""


class UnsureError(LedgerError):
    """The connection broke while the transaction was committed: nobody knows whether it was."""


def repeated(method: Method[Given, Result], *also: type[LedgerError]) -> Method[Given, Result]:
    """Try a method again whose one transaction the server has undone (see UndoneError)."""
    faults: tuple[type[LedgerError], ...] = (UndoneError, *also)

    @functools.wraps(method)
    async def tried(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        for number in range(TRIES - 1):
            try:
                return await method(*args, **kwargs)
            except faults:
                await asyncio.sleep(PAUSE_SECONDS * 2**number * (0.5 + random.random()))
        return await method(*args, **kwargs)

    return tried


def lasting(method: Method[Given, Result]) -> Method[Given, Result]:
    """`repeated`, for a method that may also be done twice with the same outcome."""
    return repeated(method, UnsureError)


class Database:
    """Transactions for its sub-classes and parts. `clock` gives UTC seconds; the `observers` write in
    the transactions of the ledger. What is not `synced` outlasts the process, and perhaps not a power
    cut: for what is written often and is missed by nobody."""

    def __init__(
        self,
        database: AsyncEngine,
        clock: Callable[[], float] = time.time,
        observers: Sequence["Observer"] = (),
    ) -> None:
        self.vault = vault_of(database.dialect)
        self.clock = clock
        self.observers = tuple(observers)
        self.dialect = database.dialect.name
        self._read = database
        self._write = database.execution_options(writing=True)
        self._write_unsynced = self._write.execution_options(synced=False)
        self._turn = asyncio.Lock() if self.dialect == "sqlite" else None

    async def close(self) -> None:
        await self._read.dispose()

    @asynccontextmanager
    async def writing(self, *, synced: bool = True) -> AsyncIterator[AsyncConnection]:
        """Open a transaction, committed at the end. Raises LedgerError: UndoneError, UnsureError."""
        committing = False
        async with AsyncExitStack() as stack:
            await self._wait_for_turn(stack)
            try:
                write = self._write if synced else self._write_unsynced
                async with write.begin() as connection:
                    yield connection
                    committing = True
            except SQLAlchemyError as error:
                raise self._fault(error, committing) from error

    async def _wait_for_turn(self, stack: AsyncExitStack) -> None:
        """Let one writer at a time through: SQLite has no better order."""
        if self._turn is None:
            return
        try:
            async with asyncio.timeout(TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise LedgerError("The ledger is too busy to be written; try again.") from None
        stack.callback(self._turn.release)

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """Open a connection that takes no lock. Raises LedgerError."""
        try:
            async with self._read.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            if self._turn is not None:
                raise LedgerError(f"The ledger cannot be read: {reason(error)}") from error
            raise self._fault(error, committing=False) from error

    async def scalar(self, query: sa.Select[Result]) -> Result | None:
        async with self.reading() as connection:
            return await connection.scalar(query)

    async def scalars(self, query: sa.Select[Result]) -> list[Result]:
        async with self.reading() as connection:
            return list(await connection.scalars(query))

    async def rows(self, query: sa.Select[*Columns]) -> Sequence[sa.Row[*Columns]]:
        async with self.reading() as connection:
            return (await connection.execute(query)).all()

    @repeated
    async def change(self, statement: sa.UpdateBase) -> int:
        """Execute it in a transaction of its own, again if that was undone; how many rows it changed."""
        async with self.writing() as connection:
            return (await connection.execute(statement)).rowcount

    def _fault(self, error: SQLAlchemyError, committing: bool) -> LedgerError:
        """Say what the error means for the caller, without the statement and its values."""
        if self._turn is not None:
            return LedgerError(f"The ledger cannot be written: {reason(error)}")
        words = explain(error, name_of(self._read.url), self._read.url.password)
        broken = isinstance(error, DBAPIError) and error.connection_invalidated
        if broken and committing:
            return UnsureError(words)
        if broken or sqlstate_of(error) in UNDONE:
            return UndoneError(words)
        return LedgerError(words)

    def person(self, platform: str, asker: str) -> str:
        """Give the keyed lookup of a person, the same each time, that names nobody without the key."""
        return self.vault.lookup(platform, asker)

    def place(self, platform: str, place: str) -> str:
        return self.vault.lookup(f"{platform} place", place)


def chunks(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + AT_ONCE] for start in range(0, len(names), AT_ONCE)]


async def add(connection: AsyncConnection, table: Any, values: Mapping[str, Any]) -> bool:
    """Insert a row unless one with its key is there; whether it was inserted."""
    statement = _insert(connection, table).values(**values).on_conflict_do_nothing()
    counted = statement.execution_options(preserve_rowcount=True)
    return (await connection.execute(counted)).rowcount > 0


async def put(
    connection: AsyncConnection, table: Any, key: tuple[str, ...], values: Mapping[str, Any]
) -> None:
    """Insert a row, or change the one that has the same values in the columns of `key`."""
    statement = _insert(connection, table).values(**values)
    changes = {name: statement.excluded[name] for name in values if name not in (*key, "id")}
    await connection.execute(statement.on_conflict_do_update(index_elements=key, set_=changes))


def _insert(connection: AsyncConnection, table: Any) -> "postgresql.Insert | sqlite.Insert":
    # one of them is loaded by then; the other takes a while, which no command should wait for
    if connection.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(table)

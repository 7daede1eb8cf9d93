"""The ledger as a SQLite file: one machine, one owner, commits that survive a power cut."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from engine.errors import LedgerError

BUSY_SECONDS = 5.0


class LedgerFile:
    upgrades_itself = True

    def __init__(self, path: Path, url: sa.URL) -> None:
        self.path = path
        self.name = str(path)
        self._url = url

    def exists(self) -> bool:
        """Tell whether there is anything to connect to; the first upgrade makes the file."""
        return self.path.exists()

    @contextmanager
    def connect(self, *, writing: bool) -> Iterator[sa.Connection]:
        """Connect for the schema, with transactions begun by hand; a writer keeps other upgrades out."""
        if writing:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        database = sa.create_engine(
            self._url.set(drivername="sqlite"), connect_args={"timeout": BUSY_SECONDS}
        )
        sa.event.listen(database, "connect", _transactions_by_hand)
        sa.event.listen(database, "begin", _begin)
        try:
            with database.connect().execution_options(writing=writing) as connection:
                yield connection
            if writing:
                self.path.chmod(0o600)
        except (sa.exc.DatabaseError, sqlite3.Error) as error:
            why = getattr(error, "orig", error)
            raise LedgerError(f"The ledger {self.name} cannot be used: {why}") from error
        finally:
            database.dispose()

    def worries(self) -> list[str]:
        return []  # the pragmas see to it

    def back_up(self, folder: Path, revision: str) -> str | None:
        """Copy it by SQLite's own backup, under the old schema's name."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        name = f"{self.path.stem}-{revision}-{int(time.time())}{self.path.suffix}"
        copy, part = folder / name, folder / "copy.part"  # what a full disk leaves is written over
        with (
            closing(sqlite3.connect(self.path)) as source,
            closing(sqlite3.connect(part)) as target,
        ):
            part.chmod(0o600)
            source.backup(target)
        part.rename(copy)
        return str(copy)

    def open(self, *, synced: bool) -> AsyncEngine:
        database = create_async_engine(
            self._url,
            connect_args={"timeout": BUSY_SECONDS},
            pool_size=4,
            max_overflow=28,
            hide_parameters=True,  # an error must not quote what somebody typed
            execution_options={"synced": synced},
        )
        sa.event.listen(database.sync_engine, "connect", _set_pragmas)
        sa.event.listen(database.sync_engine, "begin", _begin)
        # a connection that is closed keeps its transaction while something refers to its cursor
        sa.event.listen(database.sync_engine, "invalidate", lambda broken, *_: broken.rollback())
        return database


def _transactions_by_hand(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver would commit before a CREATE TABLE
    connection.execute("PRAGMA secure_delete=ON")


def _set_pragmas(connection: Any, _record: Any) -> None:
    """Set WAL, and a commit that survives a power cut: accepted = on disk."""
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",
        "fullfsync=ON",  # macOS: a plain fsync leaves data in the drive's own cache
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    """Begin without a lock for a read; the ledger's writers ask for theirs with `writing`."""
    options = connection.get_execution_options()
    writing, synced = options.get("writing", False), options.get("synced", True)
    if writing:
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

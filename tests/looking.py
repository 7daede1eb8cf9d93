"""Looking into a ledger from outside, whichever database it lies in."""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from engine.ledger.storage import on_server, storage_of
from engine.settings import Settings


def look(settings: Settings, query: str) -> list[tuple[Any, ...]]:
    """The rows of a query, sealed columns as they are stored."""
    with storage_of(settings).connect(writing=False) as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def kept(settings: Settings) -> bytes:
    """Every byte of a file; of a server every row, for it writes over the deleted ones later."""
    if not on_server(settings):
        return every_byte(settings)
    tables = look(settings, "select tablename from pg_tables where schemaname = 'public'")
    return "\n".join(
        str(row) for (table,) in tables for row in look(settings, f"select t::text from {table} t")
    ).encode()


def every_byte(settings: Settings) -> bytes:
    """All files of the data folder, and all that a server keeps of the database."""
    paths = list(settings.home.rglob("*"))
    if on_server(settings):
        with storage_of(settings).connect(writing=False) as connection:
            connection.execute(sa.text("CHECKPOINT"))
            number = connection.scalar(
                sa.text("SELECT oid FROM pg_database WHERE datname = current_database()")
            )
            data = Path(str(connection.scalar(sa.text("SHOW data_directory"))))
        paths += [*(data / "base" / str(number)).iterdir(), *(data / "pg_wal").iterdir()]
    return b"".join(path.read_bytes() for path in paths if path.is_file())

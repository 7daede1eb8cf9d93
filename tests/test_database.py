"""Opening the ledger: schema, backup, key, and what makes it refuse."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from engine.database import key_file, open_database, revisions, upgrade
from engine.errors import LedgerError, SetupError
from engine.settings import Settings
from engine.tables import Table
from engine.vault import Sealed


def test_a_new_ledger_has_the_newest_schema_and_a_key_outside_its_folder(
    settings: Settings,
) -> None:
    assert upgrade(settings) is None
    current, newest = revisions(settings)
    assert current == newest is not None
    assert key_file(settings).is_file()
    assert not key_file(settings).is_relative_to(settings.home)


def test_the_migrations_make_exactly_the_tables(settings: Settings) -> None:
    upgrade(settings)
    database = sa.create_engine(f"sqlite:///{settings.ledger_file}")
    with database.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": _same_type})
        assert compare_metadata(context, Table.metadata) == []
    database.dispose()


def _same_type(_context, _column, _meta_column, inspected, declared) -> bool | None:
    """Whether they differ: a sealed column is a blob in the database."""
    if isinstance(declared, Sealed):
        return not isinstance(inspected, sa.BLOB | sa.LargeBinary)
    return None


def test_an_older_ledger_is_copied_before_it_is_upgraded(settings: Settings) -> None:
    upgrade(settings)
    with sqlite3.connect(settings.ledger_file) as connection:
        connection.execute("update alembic_version set version_num = '0001'")
        connection.execute("insert into meta (name) values ('kept')")
    newest = revisions(settings)[1]
    backup = upgrade(settings)
    if newest == "0001":
        assert backup is None  # there is only one schema so far
    else:
        assert backup is not None and Path(backup).is_file()


def test_a_ledger_of_a_newer_program_is_left_alone(settings: Settings) -> None:
    upgrade(settings)
    with sqlite3.connect(settings.ledger_file) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    before = settings.ledger_file.read_bytes()
    with pytest.raises(LedgerError, match="newer than this program"):
        upgrade(settings)
    assert settings.ledger_file.read_bytes() == before


async def test_a_ledger_without_its_own_key_is_refused(settings: Settings) -> None:
    upgrade(settings)
    await (await open_database(settings)).dispose()
    path = key_file(settings)
    path.write_text("00" * 32)
    with pytest.raises(LedgerError, match="another key"):
        await open_database(settings)
    path.unlink()
    with pytest.raises(SetupError, match="is missing"):
        await open_database(settings)


def test_a_key_inside_the_data_folder_is_refused(settings: Settings) -> None:
    inside = settings.model_copy(update={"key_file": settings.home / "k.key"})
    with pytest.raises(LedgerError, match="its own key"):
        upgrade(inside)


def test_a_moved_data_folder_keeps_its_key(settings: Settings, tmp_path: Path) -> None:
    upgrade(settings)
    settings.home.rename(tmp_path / "moved")
    moved = settings.model_copy(update={"home": tmp_path / "moved"})
    assert key_file(moved) == key_file(moved)
    assert key_file(moved).is_file()


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite:///x"])
def test_an_address_that_cannot_be_used_is_refused(settings: Settings, url: str) -> None:
    with pytest.raises(LedgerError, match="PASTICHE_DATABASE_URL"):
        upgrade(settings.model_copy(update={"database_url": url}))


def test_a_file_that_is_no_database_is_refused(settings: Settings) -> None:
    upgrade(settings)
    settings.ledger_file.write_bytes(b"this is no database at all, " * 200)
    with pytest.raises(LedgerError, match="cannot be used"):
        upgrade(settings)


async def test_a_commit_is_on_disk_when_it_returns(settings: Settings) -> None:
    upgrade(settings)
    database = await open_database(settings)
    async with database.connect() as connection:
        pragmas = {
            name: (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "secure_delete")
        }
    await database.dispose()
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "secure_delete": 1,
    }

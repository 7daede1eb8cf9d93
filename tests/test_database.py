"""Opening the ledger: schema, backup, key, and what makes it refuse."""

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import engine.desk.tables
import migrations
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
    assert engine.desk.tables.Table is Table  # all tables are known now
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


@pytest.fixture
def next_schema(tmp_path: Path) -> Callable[[str], Path]:
    """The program's migrations with one more; its upgrade ends with the statement given."""

    def make(last: str) -> Path:
        folder = tmp_path / "migrations"
        shutil.copytree(Path(migrations.__file__).parent, folder)
        (folder / "versions" / "v9999_next.py").write_text(
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f"revision = '9999'\ndown_revision = {revisions_of_the_program()!r}\n"
            "def upgrade():\n"
            "    op.create_table('next', sa.Column('id', sa.Integer, primary_key=True))\n"
            "    op.add_column('jobs', sa.Column('mood', sa.String(9)))\n"
            f"    {last}\n"
        )
        return folder

    return make


def revisions_of_the_program() -> str | None:
    return ScriptDirectory(str(Path(migrations.__file__).parent)).get_current_head()


def columns(path: Path | str, table: str) -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {row[1] for row in connection.execute(f"pragma table_info({table})")}


def test_an_older_ledger_is_copied_and_then_upgraded(settings: Settings, next_schema) -> None:
    upgrade(settings)
    backup = upgrade(settings, next_schema("pass"))
    assert backup is not None
    assert "mood" in columns(settings.ledger_file, "jobs")
    assert columns(backup, "jobs") == columns(settings.ledger_file, "jobs") - {"mood"}


def test_an_upgrade_that_breaks_off_leaves_the_old_schema_whole(
    settings: Settings, next_schema
) -> None:
    upgrade(settings)
    scripts = next_schema("raise RuntimeError('broken off')")
    with pytest.raises(RuntimeError, match="broken off"):
        upgrade(settings, scripts)
    assert columns(settings.ledger_file, "next") == set()
    assert "mood" not in columns(settings.ledger_file, "jobs")
    assert revisions(settings)[0] == revisions_of_the_program()


@pytest.mark.slow
def test_a_kill_in_the_middle_of_an_upgrade_leaves_old_or_new(
    settings: Settings, next_schema
) -> None:
    upgrade(settings)
    scripts = next_schema("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    code = (
        "import sys; from pathlib import Path; from engine.database import upgrade;"
        "from engine.settings import read_settings; upgrade(read_settings(), Path(sys.argv[1]))"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", code, str(scripts)], timeout=60, check=False)
        assert done.returncode == -9
        assert revisions(settings)[0] == revisions_of_the_program()
        assert columns(settings.ledger_file, "next") == set()


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

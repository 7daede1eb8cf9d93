"""Opening the ledger: schema, backup, key, and what makes it refuse."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy as sa
import upgrade_kills
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

import engine.ledger.chat_tables
import engine.queues.postgres.tables
import engine.study.experiments.tables
import engine.study.tables
import migrations
from engine.errors import LedgerError, SetupError
from engine.ledger.outbox import Outbox
from engine.ledger.storage import (
    key_file,
    make_ready,
    open_database,
    revisions,
    storage_of,
    upgrade,
)
from engine.ledger.tables import Table
from engine.ledger.transactions import Database
from engine.settings import Settings
from engine.study.experiments.tables import Enrolment
from engine.vault import Sealed

pytestmark = pytest.mark.databases("sqlite")
BOTH = pytest.mark.databases("sqlite", "postgres")


def test_a_new_ledger_has_the_newest_schema_and_a_key_outside_its_folder(
    settings: Settings,
) -> None:
    assert upgrade(settings) is None
    current, newest = revisions(settings)
    assert current == newest is not None
    assert key_file(settings).is_file()
    assert not key_file(settings).is_relative_to(settings.home)


@BOTH
def test_the_migrations_make_exactly_the_tables(settings: Settings) -> None:
    tables = (
        engine.ledger.chat_tables,
        engine.study.experiments.tables,
        engine.study.tables,
        engine.queues.postgres.tables,
    )
    assert all(one.Table is Table for one in tables)  # all are known now
    upgrade(settings)
    with storage_of(settings).connect(writing=False) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": _same_type})
        assert compare_metadata(context, Table.metadata) == []


def _same_type(_context, _column, _meta_column, inspected, declared) -> bool | None:
    """Whether they differ: a sealed column is a blob in the database."""
    if isinstance(declared, Sealed):
        return not isinstance(inspected, sa.BLOB | sa.LargeBinary)
    return None


async def test_debts_are_found_without_reading_what_was_delivered(settings: Settings) -> None:
    upgrade(settings)
    database = await open_database(settings)
    asked: list[tuple[str, tuple]] = []
    sa.event.listen(
        database.sync_engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, values, *_: asked.append((statement, values)),
    )
    book = Database(database)
    await Outbox(book).due("discord")
    await Outbox(book).recover()
    found = [(words, values) for words, values in asked if "deliveries" in words]
    assert len(found) == 2
    async with book.reading() as connection:
        for statement, values in found:
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            steps = " / ".join(row.detail for row in plan)
            assert "SEARCH deliveries USING INDEX ix_deliveries_state (state=?)" in steps
    await book.close()


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


def columns(settings: Settings, table: str) -> set[str]:
    with storage_of(settings).connect(writing=False) as connection:
        look = sa.inspect(connection)
        return {c["name"] for c in look.get_columns(table)} if look.has_table(table) else set()


def test_an_older_ledger_is_copied_and_then_upgraded(settings: Settings, next_schema) -> None:
    upgrade(settings)
    backup = upgrade(settings, next_schema("pass"))
    assert backup is not None
    assert "mood" in columns(settings, "jobs")
    copied = settings.model_copy(update={"database_url": f"sqlite+aiosqlite:///{backup}"})
    assert columns(copied, "jobs") == columns(settings, "jobs") - {"mood"}


def test_an_upgrade_without_room_for_the_copy_says_so_and_leaves_one_file(
    settings: Settings, next_schema
) -> None:
    upgrade(settings)
    scripts = next_schema("pass")
    before = settings.ledger_file.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, hard))
    try:
        for _ in range(2):
            with pytest.raises(LedgerError, match="cannot be used: "):
                upgrade(settings, scripts)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, kept)
    assert settings.ledger_file.read_bytes() == before
    assert len(list((settings.home / "backups").iterdir())) <= 1
    assert upgrade(settings, scripts) is not None


@BOTH
def test_an_upgrade_that_breaks_off_leaves_the_old_schema_whole(
    settings: Settings, next_schema
) -> None:
    upgrade(settings)
    scripts = next_schema("raise RuntimeError('broken off')")
    with pytest.raises(RuntimeError, match="broken off"):
        upgrade(settings, scripts)
    assert columns(settings, "next") == set()
    assert "mood" not in columns(settings, "jobs")
    assert revisions(settings)[0] == revisions_of_the_program()


OLD = upgrade_kills.versions()[:-1]


@pytest.mark.slow
@BOTH
@pytest.mark.parametrize(
    "old",
    [
        # the whole way; the tables that are made anew on SQLite, with rows; the newest step
        pytest.param([OLD[0], "0007", OLD[-1]], id="in short"),
        pytest.param(OLD, id="all", marks=pytest.mark.long),
    ],
)
def test_an_upgrade_with_data_from_each_schema_is_old_or_new_after_a_kill(
    settings: Settings, old: list[str]
) -> None:
    """Killed twice from each of the earlier ones; more often by the benchmark of that name."""
    kills = 2
    program = Path(__file__).with_name("upgrade_kills.py")
    done = subprocess.run(
        [sys.executable, program, str(kills), *old],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == kills * len(old)
    assert sum(kill["found"] == kill["from"] for kill in found) == len(found) * (kills - 1) / kills


def test_a_place_is_enrolled_for_nobody_after_an_upgrade(settings: Settings) -> None:
    with upgrade_kills.program_of("0014") as scripts:
        upgrade(settings, scripts)
    enrolments = Enrolment.__table__
    same = {
        "study": "s",
        "experiment": "e",
        "version_sha256": "",
        "arm": "a",
        "position": 0,
        "at": 0,
    }
    rows = [
        {"id": kind, "unit": kind, "unit_kind": kind, "pseudonym": "first", **same}
        for kind in ("place", "person")
    ]
    with storage_of(settings).connect(writing=True) as connection:
        connection.execute(enrolments.insert(), rows)
        connection.commit()
    upgrade(settings)
    with storage_of(settings).connect(writing=False) as connection:
        told = connection.execute(sa.select(enrolments.c.unit, enrolments.c.pseudonym))
        assert dict(map(tuple, told)) == {"place": None, "person": "first"}


@BOTH
def test_a_ledger_of_a_newer_program_is_refused(settings: Settings, next_schema) -> None:
    upgrade(settings)
    upgrade(settings, next_schema("pass"))
    for open_it in (upgrade, make_ready, revisions):
        with pytest.raises(LedgerError, match="newer than this program"):
            open_it(settings)
    assert "mood" in columns(settings, "jobs")


def test_a_ledger_of_a_newer_program_is_not_touched(settings: Settings, next_schema) -> None:
    upgrade(settings, next_schema("pass"))
    before = settings.ledger_file.read_bytes()
    with pytest.raises(LedgerError, match="newer than this program"):
        upgrade(settings)
    assert settings.ledger_file.read_bytes() == before


@BOTH
async def test_a_ledger_without_its_own_key_is_refused(settings: Settings) -> None:
    upgrade(settings)
    await (await open_database(settings)).dispose()
    path = key_file(settings)
    path.write_text("00" * 32)
    with pytest.raises(LedgerError, match=r"another key than the one in .*PASTICHE_KEY_FILE"):
        await open_database(settings)
    path.unlink()
    with pytest.raises(SetupError, match=r"is missing|key that is not on this machine"):
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


@pytest.mark.parametrize("url", ["nonsense", "mysql://x/y", "sqlite:///x", "postgresql://u:p@h/x"])
def test_an_address_that_cannot_be_used_is_refused(settings: Settings, url: str) -> None:
    with pytest.raises(LedgerError, match="PASTICHE_DATABASE_URL"):
        upgrade(settings.model_copy(update={"database_url": url}))


def test_a_file_that_is_no_database_is_refused(settings: Settings) -> None:
    upgrade(settings)
    settings.ledger_file.write_bytes(b"this is no database at all, " * 200)
    with pytest.raises(LedgerError, match="cannot be used"):
        upgrade(settings)


async def test_what_nobody_misses_may_be_on_disk_a_little_later(settings: Settings) -> None:
    make_ready(settings)
    database = Database(await open_database(settings))
    said = []
    for synced in (False, True):
        async with database.writing(synced=synced) as connection:
            said.append((await connection.exec_driver_sql("PRAGMA synchronous")).scalar())
    await database.close()
    assert said == [1, 2]  # normal, full


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

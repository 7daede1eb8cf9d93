"""The ledger on a PostgreSQL server: who makes it, with which key, and which servers are refused."""

import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import postgres
import pytest
import sqlalchemy as sa
from postgres_between import Between, TransactionPool, older, standing
from program import pastiche
from pydantic import SecretStr

import migrations
from engine.errors import LedgerError, SetupError
from engine.ledger.storage import make_ready, open_database, revisions, storage_of, upgrade
from engine.settings import Settings

pytestmark = pytest.mark.databases("postgres")


@pytest.fixture
def empty(postgres_server: postgres.Server, tmp_path: Path) -> Callable[..., Settings]:
    """Settings of a machine with no key yet, on one new database."""
    url = postgres_server.url(postgres_server.create())

    def machine(name: str = "first", **changes: object) -> Settings:
        files = {"home": tmp_path / name, "key_file": tmp_path / f"{name}.key"}
        return Settings(**{"backend": "echo", "database_url": url, **files, **changes})

    return machine


# Making it, and the key


def test_of_many_machines_that_start_at_once_one_makes_ledger_and_key(empty) -> None:
    machines = [empty(f"machine {number}") for number in range(4)]

    def start(machine: Settings) -> str:
        try:
            make_ready(machine)
        except SetupError as error:
            return str(error)
        return "made"

    with ThreadPoolExecutor() as pool:
        said = sorted(pool.map(start, machines))
    assert said.count("made") == 1
    assert all("key that is not on this machine" in line for line in said if line != "made")
    assert sum(machine.key_file.exists() for machine in machines) == 1


async def test_a_second_machine_with_the_key_serves_and_with_another_does_not(empty) -> None:
    first, second = empty("first"), empty("second")
    make_ready(first)
    shutil.copy(first.key_file, second.key_file)
    make_ready(second)
    await (await open_database(second)).dispose()
    second.key_file.write_text("00" * 32)
    with pytest.raises(LedgerError, match="another key"):
        await open_database(second)


@pytest.fixture
def old_migrations(tmp_path: Path) -> Path:
    """The program's, as they were while the queue rested on a library."""
    folder = tmp_path / "migrations"
    shutil.copytree(Path(migrations.__file__).parent, folder)
    for path in (folder / "versions").glob("v*.py"):
        if path.name >= "v0010":
            path.unlink()
    return folder


def test_an_older_ledger_is_upgraded_only_when_told_to(empty, old_migrations: Path) -> None:
    machine = empty()
    upgrade(machine, old_migrations)
    before = revisions(machine)
    with pytest.raises(LedgerError, match="run: pastiche db upgrade"):
        make_ready(machine)
    assert revisions(machine) == before
    upgrade(machine)
    make_ready(machine)
    assert len(set(revisions(machine))) == 1


LIBRARY = """
CREATE TYPE procrastinate_job_status AS ENUM ('todo', 'doing');
CREATE TABLE procrastinate_jobs (id bigint PRIMARY KEY, status procrastinate_job_status);
CREATE TABLE procrastinate_events (job_id bigint REFERENCES procrastinate_jobs);
CREATE FUNCTION procrastinate_note() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE FUNCTION procrastinate_state(bigint) RETURNS procrastinate_job_status LANGUAGE sql
    AS 'SELECT status FROM procrastinate_jobs WHERE id = $1';
CREATE TRIGGER note AFTER UPDATE ON procrastinate_jobs
    FOR EACH ROW EXECUTE PROCEDURE procrastinate_note();
"""
LEFT = """
SELECT count(*) FROM (SELECT relname AS name FROM pg_class UNION ALL SELECT proname FROM pg_proc
    UNION ALL SELECT typname FROM pg_type) AS known WHERE name ~ 'procrastinate'
"""


def test_an_upgrade_leaves_nothing_of_the_library_that_the_queue_once_rested_on(
    empty, old_migrations: Path
) -> None:
    machine = empty()
    upgrade(machine, old_migrations)
    with storage_of(machine).connect(writing=True) as connection:
        connection.execute(sa.text(LIBRARY))
        connection.commit()
    upgrade(machine)
    with storage_of(machine).connect(writing=False) as connection:
        assert connection.scalar(sa.text(LEFT)) == 0


async def test_a_ledger_without_tables_says_what_makes_them(empty) -> None:
    machine = empty(key=SecretStr(postgres.KEY))
    with pytest.raises(LedgerError, match="pastiche db upgrade"):
        await open_database(machine)


# Servers that cannot be used


def refused(settings: Settings, **changes: object) -> str:
    """Why it is refused, at a start as in `db current`."""
    there = settings.model_copy(update=changes)
    with pytest.raises(LedgerError) as first:
        make_ready(there)
    with pytest.raises(LedgerError) as second:
        revisions(there)
    assert str(first.value) == str(second.value)
    return str(first.value)


@pytest.mark.parametrize(
    ("instead", "why"),
    [
        (":WRONG@", "did not take the user or password"),
        ("nobody-we-know:PASSWORD@", "did not take the user or password"),
        (":PASSWORD@HOST/no-such", "has no such database"),
        (":PASSWORD@127.0.0.1:1/", "does not answer"),
        (":PASSWORD@nowhere.invalid/", "is not a known name"),
        (":PASSWORD@HOST/DATABASE?sslmode=require", "do not agree on encryption"),
        (":PASSWORD@HOST/DATABASE?nonsense=1", "invalid connection option"),
        (":PASS@WORD@HOST/DATABASE", "write an @ of the password as %40"),
        (":PASS@W:ORD@HOST/DATABASE", "is no database address"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_without_its_password(
    settings: Settings, instead: str, why: str
) -> None:
    url = sa.make_url(settings.database_url)
    words = {
        "WRONG": "a-secret", "PASSWORD": str(url.password), "PASS@W": "a-se@cr", "ORD": "et",
        "HOST": f"{url.host}:{url.port}", "DATABASE": str(url.database),
    }  # fmt: skip
    for name, value in words.items():
        instead = instead.replace(name, value)
    user = "" if not instead.startswith(":") else "postgres"
    address = f"postgresql+psycopg://{user}{instead}"
    if instead.endswith("@"):
        address += f"{url.host}:{url.port}/{url.database}"
    said = refused(settings, database_url=address)
    assert re.search(why, said)
    for secret in (str(url.password), "a-se", "cret"):
        assert secret not in said
    assert "postgres:" not in said


def test_an_older_server_is_refused_by_its_number(
    settings: Settings, postgres_server: postgres.Server
) -> None:
    with standing(Between(postgres_server.port, older)) as port:
        url = settings.database_url.replace(str(postgres_server.port), str(port))
        assert "is PostgreSQL 13; the ledger needs 14" in refused(settings, database_url=url)


def test_a_pool_that_shares_sessions_is_refused(
    settings: Settings, postgres_server: postgres.Server
) -> None:
    with standing(TransactionPool(postgres_server.port)) as port:
        url = settings.database_url.replace(str(postgres_server.port), str(port))
        assert "is a pool in transaction mode" in refused(settings, database_url=url)


def test_a_proxy_that_shares_nothing_is_welcome(
    settings: Settings, postgres_server: postgres.Server
) -> None:
    with standing(Between(postgres_server.port, lambda said: said)) as port:
        url = settings.database_url.replace(str(postgres_server.port), str(port))
        make_ready(settings.model_copy(update={"database_url": url}))


def test_a_database_in_another_encoding_is_refused(
    settings: Settings, postgres_server: postgres.Server
) -> None:
    for encoding in ("LATIN1", "SQL_ASCII"):
        url = postgres_server.url(postgres_server.create(encoding=encoding))
        told = f"is encoded in {encoding}. Make one in UTF8"
        assert told in refused(settings, database_url=url)


def test_a_database_that_is_only_read_is_refused(settings: Settings) -> None:
    name = sa.make_url(settings.database_url).database
    with storage_of(settings).connect(writing=False) as connection:
        connection.execute(sa.text(f"alter database {name} set default_transaction_read_only = on"))
        connection.commit()
    assert "is read-only" in refused(settings)


def test_the_commands_name_the_server_and_never_the_password(
    settings: Settings, postgres_server: postgres.Server
) -> None:
    url = sa.make_url(settings.database_url)
    where = f"postgresql://127.0.0.1:{url.port}/{url.database}"
    wrong = settings.database_url.replace(str(url.password), "s3cret-word")
    runs = [
        pastiche("db", "current"),
        pastiche("db", "upgrade"),
        pastiche("doctor", "--no-generate"),
        pastiche("db", "upgrade", PASTICHE_DATABASE_URL=wrong),
    ]
    assert f"{where}: schema 0" in runs[0].stdout.decode()
    assert f"ledger {where}, schema" in runs[2].stdout.decode()
    assert "fsync or full_page_writes off" in " ".join(runs[2].stdout.decode().split())
    assert [done.returncode for done in runs[:2]] == [0, 0]
    logs = b"".join(path.read_bytes() for path in settings.home.rglob("*") if path.is_file())
    said = b"".join(done.stdout + done.stderr for done in runs) + logs
    for secret in (str(url.password), "s3cret-word"):
        assert secret.encode() not in said
    assert b"did not take the user or password" in runs[3].stderr
    assert b"Traceback" not in runs[3].stderr

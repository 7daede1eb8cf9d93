"""Opening the ledger's database: the key, the schema, the pragmas.

SQLite is brought to the newest schema by itself, after a backup copy; any other database only by
`pastiche db upgrade`, since other processes may be using it.
"""

import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from engine.errors import LedgerError
from engine.settings import Settings
from engine.tables import Meta
from engine.vault import Vault, load_key

BUSY_SECONDS = 5.0
KEY_CHECK = "this ledger and its key belong together"


def database_url(settings: Settings) -> sa.URL:
    """The ledger's address, with an async driver. Raises LedgerError for one we cannot use."""
    if not settings.database_url:
        return sa.URL.create("sqlite+aiosqlite", database=str(settings.ledger_file))
    try:
        url = sa.make_url(settings.database_url)
    except sa.exc.ArgumentError:
        raise LedgerError("PASTICHE_DATABASE_URL is no database address.") from None
    if url.drivername != "sqlite+aiosqlite":
        raise LedgerError(
            f"The ledger cannot live in {url.drivername!r} yet; use sqlite+aiosqlite, or leave "
            "PASTICHE_DATABASE_URL unset."
        )
    return url


def sqlite_file(settings: Settings) -> Path:
    """The ledger's file."""
    return Path(database_url(settings).database or settings.ledger_file)


def load_vault(settings: Settings) -> Vault:
    """The key from PASTICHE_KEY or its file; made at the first start, never beside an old ledger."""
    if settings.key is not None:
        try:
            return Vault(bytes.fromhex(settings.key.get_secret_value().strip()))
        except ValueError:
            raise LedgerError("PASTICHE_KEY is not a key (64 hex characters).") from None
    return Vault(load_key(key_file(settings), may_create=not sqlite_file(settings).exists()))


def key_file(settings: Settings) -> Path:
    """Where the key lies: outside the data folder, one for each data folder."""
    if settings.key_file is not None:
        path = settings.key_file.expanduser().absolute()
        if settings.key_file == Path() or path.is_dir():
            raise LedgerError("PASTICHE_KEY_FILE must name a file, outside the data folder.")
    else:
        config = Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser()
        path = config / "pastiche" / "keys" / f"{_key_name(settings.home)}.key"
    if path.resolve().is_relative_to(settings.home.resolve()):
        raise LedgerError(
            f"The key file {path} lies in the data folder, so a copy of the data would carry its own "
            "key. Name another place with PASTICHE_KEY_FILE."
        )
    return path


def _key_name(home: Path) -> str:
    """The data folder's own random name for its key, so that the folder may be moved."""
    path = home / "key-name"
    try:
        return path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        aside = path.with_name(f".key-name.{os.getpid()}")
        aside.write_text(secrets.token_hex(8) + "\n", encoding="ascii")
        with contextlib.suppress(FileExistsError):
            os.link(aside, path)
        aside.unlink()
        return path.read_text(encoding="ascii").strip()


@contextmanager
def _alembic(
    settings: Settings, scripts: Path | None, *, writing: bool
) -> Iterator[tuple[Config, sa.Connection]]:
    """Alembic on one connection whose whole upgrade is one transaction: old or new, never between."""
    url = database_url(settings).set(drivername="sqlite")
    database = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})
    sa.event.listen(database, "connect", _transactions_by_hand)
    sa.event.listen(database, "begin", _begin)
    try:
        with as_file(files("migrations")) as folder:
            config = Config()
            where = str(scripts or folder)
            config.set_main_option("script_location", where.replace("%", "%%"))
            with database.connect().execution_options(writing=writing) as connection:
                config.attributes["connection"] = connection
                yield config, connection
    except sa.exc.DatabaseError as error:
        raise LedgerError(f"The ledger {url.database} cannot be used: {error.orig}") from error
    finally:
        database.dispose()


def _transactions_by_hand(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # the driver would commit before a CREATE TABLE


def revisions(settings: Settings, scripts: Path | None = None) -> tuple[str | None, str | None]:
    """(the schema the ledger has, the newest that this code knows). Raises LedgerError.

    `scripts` is another folder of migrations than the program's own.
    """
    if not sqlite_file(settings).exists():
        with as_file(files("migrations")) as folder:
            return None, ScriptDirectory(str(scripts or folder)).get_current_head()
    with _alembic(settings, scripts, writing=False) as (config, connection):
        script = ScriptDirectory.from_config(config)
        current = MigrationContext.configure(connection).get_current_revision()
        if current and current not in {revision.revision for revision in script.walk_revisions()}:
            raise LedgerError(
                f"The ledger has schema {current}, which is newer than this program. Nothing was "
                "changed. Install the newer version, or restore a backup from the backups folder."
            )
        return current, script.get_current_head()


def upgrade(settings: Settings, scripts: Path | None = None) -> str | None:
    """Bring the ledger to the newest schema; returns the backup's path if one was made."""
    load_vault(settings)  # a ledger never exists without its key
    current, newest = revisions(settings, scripts)
    if current == newest:
        return None
    path = sqlite_file(settings)
    backup = _backup(path, settings.home / "backups", current) if current else None
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alembic(settings, scripts, writing=True) as (config, connection):
        command.upgrade(config, "head")
        connection.commit()
    path.chmod(0o600)
    return backup


def _backup(path: Path, folder: Path, revision: str) -> str:
    """A consistent copy by SQLite's own backup, kept under the old schema's name."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    copy = folder / f"{path.stem}-{revision}-{int(time.time())}{path.suffix}"
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as target:
        source.backup(target)
    copy.chmod(0o600)
    return str(copy)


def check_key(settings: Settings) -> None:
    """Raise LedgerError unless the ledger was written with this key."""
    vault = load_vault(settings)
    with closing(sqlite3.connect(sqlite_file(settings))) as connection:
        row = connection.execute("select value from meta where name = 'key_check'").fetchone()
    if row:
        vault.open(row[0], "meta.value")


async def open_database(settings: Settings, *, synced: bool = True) -> AsyncEngine:
    """The ledger's database with its vault, after checking that key and ledger belong together.

    Commits that are not `synced` survive the end of the process, but perhaps not a power cut.
    """
    vault = load_vault(settings)
    database = create_async_engine(
        database_url(settings),
        connect_args={"timeout": BUSY_SECONDS},
        pool_size=4,
        max_overflow=28,
        hide_parameters=True,  # an error must not quote what somebody typed
    )
    database.sync_engine.dialect.pastiche_vault = vault  # type: ignore[attr-defined]
    sa.event.listen(database.sync_engine, "connect", _set_pragmas)
    if not synced:
        sa.event.listen(database.sync_engine, "connect", _let_the_system_sync)
    sa.event.listen(database.sync_engine, "begin", _begin)
    try:
        async with database.begin() as connection:
            stored = await connection.scalar(sa.select(Meta.value).where(Meta.name == "key_check"))
            if stored is None:
                row = {"name": "key_check", "value": KEY_CHECK}
                await connection.execute(sa.insert(Meta).values(row))
    except sa.exc.DatabaseError as error:
        await database.dispose()
        raise LedgerError(f"The ledger cannot be used: {error.orig}") from error
    except BaseException:
        await database.dispose()
        raise
    return database


def _set_pragmas(connection: Any, _record: Any) -> None:
    """WAL, and a commit that survives a power cut: accepted = on disk."""
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


def _let_the_system_sync(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.close()


def _begin(connection: sa.Connection) -> None:
    """A read takes no lock; the ledger's writers ask for theirs with `writing`."""
    writing = connection.get_execution_options().get("writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

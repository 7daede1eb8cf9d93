"""Opening the ledger's database: the key, the schema, one way for a file and for a server.

A file is brought to the newest schema by itself, after a backup copy. A server only while it is
empty: later by `pastiche db upgrade`, since other processes may be using it. An upgrade is one
transaction: a kill leaves the old schema or the new one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import as_file, files
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import LedgerError, SetupError
from engine.ledger.errors import explain
from engine.ledger.keys import has_key, key_file, load_vault
from engine.ledger.postgres import LedgerServer
from engine.ledger.sqlite import LedgerFile
from engine.settings import Settings, read_settings
from engine.vault import Vault

KEY_CHECK = "this ledger and its key belong together"
DRIVERS = ("sqlite+aiosqlite", "postgresql+psycopg")
META = sa.table("meta", sa.column("name"), sa.column("value", sa.LargeBinary))
KEY_CHECK_QUERY = sa.select(META.c.value).where(META.c.name == "key_check")


Storage = LedgerFile | LedgerServer  # its `name` is for messages; all methods raise LedgerError


def database_url(settings: Settings) -> sa.URL:
    """Read the ledger's address, with an async driver. Raises LedgerError for one we cannot use."""
    if not settings.database_url:
        return sa.URL.create("sqlite+aiosqlite", database=str(settings.ledger_file))
    try:
        url = sa.make_url(settings.database_url.strip())
    except (sa.exc.ArgumentError, ValueError):  # their words would quote the password
        raise LedgerError(
            "PASTICHE_DATABASE_URL is no database address. Write it as "
            "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, special characters as %40 and the like."
        ) from None
    if url.drivername not in DRIVERS:
        raise LedgerError(
            f"The ledger cannot live in {url.drivername!r}; use postgresql+psycopg, or leave "
            "PASTICHE_DATABASE_URL unset."
        )
    if "@" in (url.host or ""):
        raise LedgerError("In PASTICHE_DATABASE_URL, write an @ of the password as %40.")
    return url


def storage_of(settings: Settings) -> Storage:
    url = database_url(settings)
    if url.get_backend_name() == "postgresql":
        return LedgerServer(url)
    return LedgerFile(Path(url.database or settings.ledger_file), url)


def on_server(settings: Settings) -> bool:
    return isinstance(storage_of(settings), LedgerServer)


def revisions(settings: Settings, scripts: Path | None = None) -> tuple[str | None, str | None]:
    """Read (the ledger's schema, the newest of the program's or of `scripts`). Raises LedgerError."""
    known = _known(scripts)
    storage = storage_of(settings)
    if not storage.exists():
        return None, known[-1]
    with storage.connect(writing=False) as connection:
        return _current(connection, known), known[-1]


def _known(scripts: Path | None) -> list[str]:
    """List the schemas, oldest first, by the names of their files: alembic would load each of them."""
    with as_file(files("migrations")) as folder:
        return sorted(path.name[1:5] for path in (scripts or folder).glob("versions/v*.py"))


def _current(connection: sa.Connection, known: list[str]) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    current: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    if current and current not in known:
        raise LedgerError(
            f"The ledger has schema {current}, which is newer than this program. Nothing was "
            "changed. Install the newer version, or restore a backup."
        )
    return current


def make_ready(settings: Settings) -> str | None:
    """`upgrade`, but for a server that holds an older ledger: others may be using it."""
    return upgrade(settings, only_empty=not storage_of(settings).upgrades_itself)


def upgrade(
    settings: Settings, scripts: Path | None = None, *, only_empty: bool = False
) -> str | None:
    """Bring the ledger to the newest schema; returns the backup's path if one was made."""
    current, newest = revisions(settings, scripts)
    if current == newest:
        _vault(settings, new=current is None)
        return None
    from alembic import command  # slow to import, and a ledger that is up to date has no need of it
    from alembic.config import Config

    storage = storage_of(settings)
    with as_file(files("migrations")) as folder, storage.connect(writing=True) as connection:
        current = _current(connection, _known(scripts))  # another process may have been faster
        # on disk first: a ledger never exists without its key
        vault = _vault(settings, new=current is None)
        if current == newest:
            return None
        if current and only_empty:
            raise LedgerError(
                f"The ledger in {storage.name} has schema {current}, this program needs {newest}. "
                "Make a backup, stop the other bots and workers, then run: pastiche db upgrade"
            )
        backup = storage.back_up(settings.home / "backups", current) if current else None
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(scripts or folder).replace("%", "%%"))
        command.upgrade(config, "head")
        if not _belongs(settings, vault, connection.scalar(KEY_CHECK_QUERY)):
            sealed = vault.seal(KEY_CHECK, "meta.value")
            connection.execute(sa.insert(META).values(name="key_check", value=sealed))
        connection.commit()
    return backup


def _vault(settings: Settings, *, new: bool) -> Vault:
    """Load the key; one is made only for a ledger that is new too."""
    if not new and on_server(settings) and not has_key(settings):
        raise SetupError(
            f"The ledger in {storage_of(settings).name} was made with a key that is not on this "
            f"machine. Copy the key file from the machine that made it to {key_file(settings)} "
            "(chmod 600), or set PASTICHE_KEY_FILE or PASTICHE_KEY."
        )
    return load_vault(settings, may_create=new)


def _belongs(settings: Settings, vault: Vault, stored: bytes | None) -> bool:
    """Return False for a ledger that says nothing of its key yet. Raises LedgerError for another key."""
    try:
        return stored is not None and vault.open(bytes(stored), "meta.value") == KEY_CHECK
    except LedgerError as error:
        read = "PASTICHE_KEY" if settings.key else str(key_file(settings))
        raise LedgerError(
            f"The ledger was written with another key than the one in {read}. Put its own key there, "
            "from the machine that made the ledger or from your copy of the key, or name its file "
            "with PASTICHE_KEY_FILE."
        ) from error


def check_key(settings: Settings) -> None:
    with opened(settings):
        pass


@contextmanager
def opened(settings: Settings | None = None) -> Iterator[sa.Connection]:
    """Connect for reading, beside a bot that may run; what is sealed opens. Raises LedgerError."""
    settings = settings or read_settings()
    vault = _vault(settings, new=False)
    with storage_of(settings).connect(writing=False) as connection:
        _belongs(settings, vault, connection.scalar(KEY_CHECK_QUERY))
        connection.dialect.pastiche_vault = vault  # type: ignore[attr-defined]
        yield connection


async def open_database(settings: Settings, *, synced: bool = True) -> AsyncEngine:
    """Open the ledger's database with its vault, its key checked; its schema must be the newest."""
    storage = storage_of(settings)
    vault = _vault(settings, new=False)
    database = storage.open(synced=synced)
    database.sync_engine.dialect.pastiche_vault = vault  # type: ignore[attr-defined]
    try:
        async with database.connect() as connection:
            _belongs(settings, vault, await connection.scalar(KEY_CHECK_QUERY))
    except sa.exc.SQLAlchemyError as error:
        await database.dispose()
        raise LedgerError(explain(error, storage.name)) from error
    except BaseException:
        await database.dispose()
        raise
    return database

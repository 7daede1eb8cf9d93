"""The ledger on a PostgreSQL server, shared by many bots and workers."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from engine.errors import LedgerError
from engine.ledger.errors import explain, redacted

OLDEST = 14  # PostgreSQL's major version
UPGRADE_LOCK = 0x50617374_69636865  # "Pastiche": one upgrade at a time
UPGRADE_WAIT = "60s"
CONNECT_SECONDS = 10
SESSION = {
    "statement_timeout": "55s",  # the server gives up before we do, and says so
    "lock_timeout": "10s",  # as long as a writer of the SQLite ledger waits for its turn
    "idle_in_transaction_session_timeout": "60s",  # a frozen process lets its rows go
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
DRIVER: dict[str, Any] = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "pastiche",
    "client_encoding": "utf8",  # words, not bytes, from a database in SQL_ASCII too
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,  # milliseconds until a cut network is an error
}
POOL, OVERFLOW = 4, 4  # connections of one process and part; a server gives 100 as it comes
POOL_SECONDS = 10.0
ROUNDS = 4  # a pool may go round its connections


class LedgerServer:
    """Storage on a server. Its messages name host and database, never user or password."""

    upgrades_itself = False

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        self.name = name_of(url)

    def exists(self) -> bool:
        return True  # the server is somebody's to make

    @contextmanager
    def connect(self, *, writing: bool) -> Iterator[sa.Connection]:
        """Connect to a server after looking it over; a writer is the only one of its kind."""
        import psycopg

        from engine.ledger.postgres_connection import limited

        database = sa.create_engine(
            self._url, connect_args=self._driver(), poolclass=sa.NullPool, hide_parameters=True
        )
        sa.event.listen(database, "do_connect", limited)
        try:
            with database.connect() as connection:
                self._look_over(connection)
                if writing:
                    _lock(connection)
                yield connection
        except (sa.exc.SQLAlchemyError, psycopg.Error) as error:
            raise LedgerError(explain(error, self.name, self._url.password)) from error
        finally:
            database.dispose()

    def worries(self) -> list[str]:
        """Tell of a server that may lose what it has committed, or is read by others on the way."""
        query = "SELECT current_setting('fsync'), current_setting('full_page_writes'), ssl "
        query += "FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        with self.connect(writing=False) as connection:
            synced, whole, encrypted = connection.execute(sa.text(query)).one()
        found = []
        if "off" in (synced, whole):
            found.append(
                "the server runs with fsync or full_page_writes off: a power cut may cost accepted "
                "requests. Switch both on."
            )
        if not encrypted and not is_local(self._url):
            found.append(
                "the connection is not encrypted. Add ?sslmode=verify-full to PASTICHE_DATABASE_URL."
            )
        return found

    def back_up(self, _folder: Path, _revision: str) -> str | None:
        return None  # a server's copies are its operator's

    def open(self, *, synced: bool) -> AsyncEngine:
        from engine.ledger.postgres_connection import Limited

        database = create_async_engine(
            self._url,
            connect_args={**self._driver(), "async_creator_fn": Limited.connect},
            pool_size=POOL,
            max_overflow=OVERFLOW,
            pool_timeout=POOL_SECONDS,
            pool_pre_ping=True,  # after a restart of the server the next transaction connects anew
            hide_parameters=True,
            execution_options={"synced": synced},
        )
        sa.event.listen(database.sync_engine, "connect", _settle)
        sa.event.listen(database.sync_engine, "begin", _begin)
        sa.event.listen(database.sync_engine, "handle_error", _leave_a_replica)
        return database

    def _driver(self) -> dict[str, Any]:
        return {name: value for name, value in DRIVER.items() if name not in self._url.query}

    def _look_over(self, connection: sa.Connection) -> None:
        driver = connection.connection.driver_connection
        assert driver is not None
        version = driver.info.server_version // 10_000
        if version < OLDEST:
            raise LedgerError(
                f"{self.name} is PostgreSQL {version}; the ledger needs {OLDEST} or newer. "
                "Upgrade the server, or name another with PASTICHE_DATABASE_URL."
            )
        encoding, replica, read_only, backend = connection.execute(
            sa.text(
                "SELECT current_setting('server_encoding'), pg_is_in_recovery(), "
                "current_setting('transaction_read_only'), pg_backend_pid()"
            )
        ).one()
        connection.rollback()
        primary = "Name the primary in PASTICHE_DATABASE_URL (several hosts may stand there, with "
        for wrong, what in (
            (encoding != "UTF8",
             f"is encoded in {encoding}. Make one in UTF8: "
             "CREATE DATABASE pastiche ENCODING 'UTF8' TEMPLATE template0;"),
            (replica, f"is a replica and can only be read. {primary}target_session_attrs=read-write)."),
            (read_only == "on",
             "is read-only (default_transaction_read_only). Let it be written to, or name another "
             "with PASTICHE_DATABASE_URL."),
            (backend != driver.info.backend_pid and is_shared_session(self._url, self._driver()),
             "is a pool in transaction mode (PgBouncer or the like): there nobody can be woken by "
             "NOTIFY. Name the server itself, or set pool_mode = session for this database."),
        ):  # fmt: skip
            if wrong:
                raise LedgerError(f"{self.name} {what}")


def is_shared_session(url: sa.URL, driver: dict[str, Any]) -> bool:
    """Whether this is a pool that gives one session to several clients in turn.

    PgBouncer tells its client a backend number of its own making, so a difference from
    pg_backend_pid() is the first sign. Whether sessions are really shared is tried out: two clients
    that are both connected must never meet the same backend. A pool with room for one client says
    nothing. https://www.pgbouncer.org/features.html#sql-feature-map-for-pooling-modes
    """
    from engine.ledger.postgres_connection import limited

    database = sa.create_engine(
        url, connect_args=driver, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT"
    )
    sa.event.listen(database, "do_connect", limited)
    met: tuple[set[int], set[int]] = (set(), set())
    try:
        with database.connect() as one, database.connect() as other:
            for _ in range(ROUNDS):
                for seen, connection in zip(met, (one, other), strict=True):
                    seen.add(int(connection.scalar(sa.select(sa.func.pg_backend_pid())) or 0))
    except sa.exc.OperationalError:
        return False
    finally:
        database.dispose()
    return bool(met[0] & met[1]) or len(met[0]) > 1 or len(met[1]) > 1


def is_local(url: sa.URL) -> bool:
    host = url.query.get("host") or url.host or ""
    return str(host).startswith("/") or host in ("", "localhost", "127.0.0.1", "::1")


def name_of(url: sa.URL) -> str:
    hosts = url.query.get("host") or url.host or "localhost"
    host = ",".join(hosts) if isinstance(hosts, tuple) else hosts
    port = f":{url.port}" if url.port else ""
    return f"postgresql://{redacted(host, url.password)}{port}/{url.database or ''}"


def _lock(connection: sa.Connection) -> None:
    """Keep others from upgrading until the transaction ends, and take the time it needs."""
    for name, value in (
        ("lock_timeout", UPGRADE_WAIT),
        ("idle_in_transaction_session_timeout", "0"),
    ):
        connection.execute(sa.select(sa.func.set_config(name, value, True)))
    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(UPGRADE_LOCK)))


def _settle(connection: Any, _record: Any) -> None:
    """Set it up; accepted = on disk: never the server's `off`; what is stricter than `on` stays."""
    with connection.cursor() as cursor:
        for name, value in SESSION.items():
            cursor.execute("SELECT set_config(%s, %s, false)", (name, value))
        cursor.execute(
            "SELECT set_config('synchronous_commit', 'on', false) "
            "WHERE current_setting('synchronous_commit') = 'off'"
        )
    connection.commit()


def _begin(connection: sa.Connection) -> None:
    options = connection.get_execution_options()
    if options.get("writing", False) and not options.get("synced", True):
        connection.exec_driver_sql("SET LOCAL synchronous_commit TO off")


def _leave_a_replica(context: sa.engine.ExceptionContext) -> None:
    """Drop the connections of a primary that became a replica, so that the next one looks anew."""
    if getattr(context.original_exception, "sqlstate", None) == "25006":
        context.is_disconnect = True

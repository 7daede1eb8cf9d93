"""Whether what we connect to is a pool that gives one session to several clients in turn.

PgBouncer tells its client a backend number of its own making, so a difference from
pg_backend_pid() is the first sign. Whether sessions are really shared is tried out: two clients
that are both connected must never meet the same backend.
https://www.pgbouncer.org/features.html#sql-feature-map-for-pooling-modes
"""

from typing import Any

import sqlalchemy as sa

ROUNDS = 4  # a pool may go round its connections


def is_shared_session(url: sa.URL, driver: dict[str, Any]) -> bool:
    """True for transaction and statement mode. A pool with room for one client says nothing."""
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

"""Connections to PostgreSQL whose every answer has a limit.

A server that is frozen, or a firewall that swallows what it has let in, keeps the network alive: TCP's
own limits (ledger.postgres.DRIVER) see nothing. So the client counts, for each statement and commit.
"""

from typing import Any, ClassVar, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import _WaitTimeout

ANSWER_SECONDS = 60.0  # for one statement or commit
UPGRADE_SECONDS = 600.0  # the same where the schema is changed


INTERVAL = 0.1  # psycopg's own, between two looks for an interrupt

Result = TypeVar("Result")


class Limited(psycopg.AsyncConnection[Any]):
    """Close a connection of the event loop that stays silent."""

    limit: ClassVar[float] = ANSWER_SECONDS

    async def wait(
        self,
        gen: PQGen[Result],
        interval: float = INTERVAL,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's own signature
    ) -> Result:
        """Wait within the limit; who gives a `timeout` deals with it."""
        try:
            return await super().wait(gen, interval, self.limit if timeout is None else timeout)
        except _WaitTimeout:
            if timeout is None:
                self.pgconn.finish()
            raise


class LimitedForSchema(psycopg.Connection[Any]):
    """Do the same for what looks at the schema or changes it, which may take its time."""

    def wait(
        self, gen: PQGen[Result], interval: float = INTERVAL, timeout: float | None = None
    ) -> Result:
        try:
            return super().wait(gen, interval, UPGRADE_SECONDS if timeout is None else timeout)
        except _WaitTimeout:
            if timeout is None:
                self.pgconn.finish()
            raise


def limited(_dialect: Any, _record: Any, words: Any, wishes: Any) -> LimitedForSchema:
    """Connect, as SQLAlchemy's `do_connect` for engines without an event loop."""
    return LimitedForSchema.connect(*words, **wishes)

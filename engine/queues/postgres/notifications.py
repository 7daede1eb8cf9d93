"""One connection that hears notifications, for as long as it is wanted.

Notes that were sent while it was cut off are lost, so whoever listens is told of every new start and
must look for itself then. https://www.psycopg.org/psycopg3/docs/advanced/async.html#asynchronous-notifications
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql

from engine.ledger.postgres import DRIVER
from engine.ledger.postgres_connection import Limited
from engine.shutdown import end, wanted

QUIET_SECONDS = 10.0  # after so long without a note the connection is tried
TRY_SECONDS = 5.0  # and given up when that takes longer
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between two tries to connect

log = logging.getLogger(__name__)


def connect_arguments(url: sa.URL) -> dict[str, Any]:
    """What psycopg connects with, as SQLAlchemy would."""
    _, wishes = url.get_dialect()().create_connect_args(url)
    return {**DRIVER, **wishes}


class Listener:
    """Hears `channels`. `heard(channel, words)` and `began()` must not block."""

    def __init__(
        self,
        url: sa.URL,
        channels: Iterable[str],
        heard: Callable[[str, str], None],
        began: Callable[[], None],
    ) -> None:
        self._url = url
        self._channels = tuple(channels)
        self._heard = heard
        self._began = began
        self._task: asyncio.Task[None] | None = None
        self.connected = asyncio.Event()

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._keep(), name="listener")

    async def close(self) -> bool:
        """End; False if it does not."""
        return await end(self._task)

    async def _keep(self) -> None:
        """Connect, listen, and again when the connection is lost."""
        pause = FIRST_PAUSE
        while wanted():
            try:
                async with await Limited.connect(
                    autocommit=True, **connect_arguments(self._url)
                ) as connection:
                    for channel in self._channels:
                        await connection.execute(
                            sql.SQL("LISTEN {}").format(sql.Identifier(channel))
                        )
                    self.connected.set()
                    self._began()
                    pause = FIRST_PAUSE
                    await self._listen(connection)
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.warning("the listener lost its connection", extra={"why": type(error).__name__})
            finally:
                self.connected.clear()
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def _listen(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        while True:
            async for note in connection.notifies(timeout=QUIET_SECONDS):
                self._heard(note.channel, note.payload)
            async with asyncio.timeout(TRY_SECONDS):
                await connection.execute("SELECT 1")

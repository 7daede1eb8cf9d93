"""Notifications (LISTEN and NOTIFY): what travels by them, and the connection that hears them.

A process that follows jobs has one channel, one with workers another, and each queue has one. To the
first go
    F <job>            the final answer is on record
    S <job>            the newest event is too long to travel: read its row of `progress`
    E <sealed event>   an event
PostgreSQL keeps unread notes in files of its own, so that an event, which may hold what somebody
asked for, goes sealed with the ledger's key. https://www.postgresql.org/docs/current/sql-notify.html
Notes that are sent while a connection is cut off are lost, so whoever listens is told of every new
start and must look for itself then.
"""

import asyncio
import base64
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql
from pydantic import TypeAdapter
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import LedgerError
from engine.events import Event
from engine.ledger.postgres import DRIVER
from engine.ledger.postgres_connection import Limited
from engine.shutdown import end, wanted
from engine.vault import Vault

MAX_NOTE_BYTES = 6_000  # the server takes 7,999
PURPOSE = "note"
EVENT: TypeAdapter[Event] = TypeAdapter(Event)
QUIET_SECONDS = 10.0  # after so long without a note the connection is tried
TRY_SECONDS = 5.0  # and given up when that takes longer
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds between two tries to connect

log = logging.getLogger(__name__)


def worker_host_channel(worker_host: str) -> str:
    """Name where a process with workers is told to look at its tickets."""
    return f"pastiche_s_{worker_host.lower()}"


def queue_channel(queue: str) -> str:
    return f"pastiche_q_{queue}"


async def notify(connection: AsyncConnection, channel: str, words: str = "") -> None:
    """Send a note when the transaction is committed."""
    await connection.execute(sa.select(sa.func.pg_notify(channel, words)))


def event_note(event: Event, vault: Vault) -> str | None:
    """Seal an event as a note; None when it is too long to travel."""
    data = EVENT.dump_json(event)
    if len(data) * 4 // 3 > MAX_NOTE_BYTES:
        return None
    note = "E " + base64.b64encode(vault.seal_bytes(data, PURPOSE)).decode()
    return note if len(note) <= MAX_NOTE_BYTES else None


def read_event(words: str, vault: Vault) -> Event | None:
    """Open an E note; None for anything that is not one of ours."""
    try:
        return EVENT.validate_json(vault.open_bytes(base64.b64decode(words[2:]), PURPOSE))
    except (ValueError, LedgerError):
        return None


@dataclass(slots=True, eq=False)
class Listener:
    """Hear `channels` on one connection. `heard(channel, words)` and `began()` must not block."""

    url: sa.URL
    channels: tuple[str, ...]
    heard: Callable[[str, str], None]
    began: Callable[[], None]
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name="listener")

    async def close(self) -> bool:
        return await end(self._task)

    async def _keep(self) -> None:
        pause = FIRST_PAUSE
        _, wishes = self.url.get_dialect()().create_connect_args(self.url)
        arguments: dict[str, Any] = {**DRIVER, **wishes}  # as SQLAlchemy would connect
        while wanted():
            try:
                async with await Limited.connect(autocommit=True, **arguments) as connection:
                    for channel in self.channels:
                        listen = sql.SQL("LISTEN {}").format(sql.Identifier(channel))
                        await connection.execute(listen)
                    self.began()
                    pause = FIRST_PAUSE
                    await self._listen(connection)
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.warning("the listener lost its connection", extra={"why": type(error).__name__})
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    async def _listen(self, connection: "psycopg.AsyncConnection[Any]") -> None:
        while True:
            async for note in connection.notifies(timeout=QUIET_SECONDS):
                self.heard(note.channel, note.payload)
            async with asyncio.timeout(TRY_SECONDS):
                await connection.execute("SELECT 1")

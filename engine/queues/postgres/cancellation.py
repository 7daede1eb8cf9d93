"""Ending a job of the Postgres queue from outside: by its asker, or by the operator.

A job that waits is ended here. One that runs is ended by its worker, whose station is told to look at
its tickets (queues.postgres.worker_host); an operator need not wait for that.
"""

from collections.abc import Awaitable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import KIND_SENTENCE
from engine.events import Cancelled, Failed, Final
from engine.ledger.tables import JobRow
from engine.ledger.transactions import lasting
from engine.queues.postgres.claims import Claims
from engine.queues.postgres.notifications import notify, station_channel
from engine.queues.postgres.tables import Ticket, WorkerRow


class Cancellation:
    """Raises LedgerError."""

    def __init__(self, tickets: Claims) -> None:
        self._claims = tickets
        self._ledger = tickets.ledger

    async def cancel(self, job: str) -> bool:
        """Over at once while it waits; its worker is told while it runs. False: it is over."""
        for _ in range(3):  # it may begin, or be handed back, in between
            async with self._ledger.reading() as connection:
                attempt = await connection.scalar(
                    sa.select(JobRow.attempt)
                    .join(Ticket, Ticket.job_id == JobRow.id)
                    .where(JobRow.id == job)
                )
            if attempt is None:
                return False
            if await self._end(Cancelled(job=job, attempt=attempt), Ticket.worker.is_(None)):
                return True
            if await self._ask_to_stop(job):
                return True
        return False

    async def _end(self, event: Final, if_: sa.ColumnElement[bool]) -> bool:
        """End a job whose ticket is so."""

        def beside(connection: AsyncConnection) -> Awaitable[bool]:
            return self._claims.remove(connection, event.job, if_)

        return await self._ledger.finish(event, beside)

    @lasting
    async def _ask_to_stop(self, job: str) -> bool:
        """Tell the worker's station to look at its tickets."""
        async with self._ledger.writing() as connection:
            asked = await connection.execute(
                sa.update(Ticket)
                .where(Ticket.job_id == job, Ticket.worker == WorkerRow.number)
                .values(cancelled=True)
                .returning(WorkerRow.station)
            )
            station = asked.scalar_one_or_none()
            if station is not None:
                await notify(connection, station_channel(station), "look")
        return station is not None

    async def drop(self, job: str, reason: str) -> bool:
        """End it as failed, whoever has it; the worker that has it finds its ticket gone."""
        async with self._ledger.reading() as connection:
            query = (
                sa.select(JobRow.attempt, WorkerRow.station)
                .join(Ticket, Ticket.job_id == JobRow.id)
                .join(WorkerRow, WorkerRow.number == Ticket.worker, isouter=True)
                .where(JobRow.id == job)
            )
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return False

        async def beside(connection: AsyncConnection) -> bool:
            if not await self._claims.remove(connection, job, sa.true()):
                return False
            if row.station is not None:
                await notify(connection, station_channel(row.station), "look")
            return True

        failed = Failed(job=job, attempt=row.attempt, message=KIND_SENTENCE, reason=reason)
        return await self._ledger.finish(failed, beside)

    async def stuck(self, job: str) -> bool:
        """Take it from its worker and let it wait again; False when no worker has it."""
        async with self._ledger.writing() as connection:
            query = (
                sa.select(WorkerRow.station)
                .join(Ticket, Ticket.worker == WorkerRow.number)
                .where(Ticket.job_id == job)
            )
            station = await connection.scalar(query)
            whose = sa.and_(Ticket.job_id == job, Ticket.worker.is_not(None))
            if not await self._claims.release(connection, whose):
                return False
            if station is not None:
                await notify(connection, station_channel(station), "look")
        return True

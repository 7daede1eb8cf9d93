"""Ends a job of the queue on PostgreSQL from outside, for its asker or for the operator.

A job that waits is ended here. One that runs is ended by its worker, whose process is told to look at
its tickets; an operator need not wait for that.
"""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import KIND_SENTENCE
from engine.events import Cancelled, Failed, Final
from engine.ledger.tables import JobRow
from engine.ledger.transactions import lasting
from engine.queues.postgres.claims import Claims
from engine.queues.postgres.notifications import notify, worker_host_channel
from engine.queues.postgres.tables import Ticket, WorkerRow


@dataclass(frozen=True, slots=True)
class Cancellation:
    claims: Claims

    async def cancel(self, job: str) -> bool:
        """End it at once while it waits; tell its worker while it runs. False: it is over."""
        for _ in range(3):  # it may begin, or be handed back, in between
            attempt = await self._attempt(job)
            if attempt is None:
                return False
            if await self._end(Cancelled(job=job, attempt=attempt), Ticket.worker.is_(None)):
                return True
            if await self._ask_to_stop(job):
                return True
        return False

    async def drop(self, job: str, reason: str) -> bool:
        """End it as failed, whoever has it; the worker that has it finds its ticket gone."""
        attempt = await self._attempt(job)
        if attempt is None:
            return False
        failed = Failed(job=job, attempt=attempt, message=KIND_SENTENCE, reason=reason)
        return await self._end(failed, sa.true())

    async def stuck(self, job: str) -> bool:
        """Take it from its worker and let it wait again; False when no worker has it."""
        async with self.claims.ledger.writing() as connection:
            await self._tell_worker(connection, job)
            claimed = sa.and_(Ticket.job_id == job, Ticket.worker.is_not(None))
            return bool(await self.claims.release(connection, claimed))

    async def _attempt(self, job: str) -> int | None:
        query = sa.select(JobRow.attempt).join(Ticket, Ticket.job_id == JobRow.id)
        return await self.claims.ledger.scalar(query.where(JobRow.id == job))

    async def _end(self, event: Final, if_: sa.ColumnElement[bool]) -> bool:
        async def beside(connection: AsyncConnection) -> bool:
            await self._tell_worker(connection, event.job)
            return await self.claims.remove(connection, event.job, if_)

        return await self.claims.ledger.finish(event, beside)

    @lasting
    async def _ask_to_stop(self, job: str) -> bool:
        claimed = sa.update(Ticket).where(Ticket.job_id == job, Ticket.worker.is_not(None))
        async with self.claims.ledger.writing() as connection:
            await connection.execute(claimed.values(cancelled=True))
            return await self._tell_worker(connection, job)

    async def _tell_worker(self, connection: AsyncConnection, job: str) -> bool:
        """Have the process whose worker has the job look at its tickets; False if none has it."""
        mine = sa.select(WorkerRow.worker_host).join(Ticket, Ticket.worker == WorkerRow.number)
        worker_host = await connection.scalar(mine.where(Ticket.job_id == job))
        if worker_host is not None:
            await notify(connection, worker_host_channel(worker_host), "look")
        return worker_host is not None

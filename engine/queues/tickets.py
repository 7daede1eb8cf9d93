"""Tickets: every move of a job through the Postgres queue, in one transaction with the ledger's row.

A ticket, its row in procrastinate_jobs and the job's own row change together or not at all, so the
record and the queue cannot disagree, and a worker's word counts only while it has the ticket: every
write of a worker asks for it first, in the same transaction. That is also why workers claim through
Procrastinate's functions in our transactions and not through its own Worker class, which claims and
finishes in transactions of its own; its task for maintenance does run on its Worker (queues.rescue).

Whoever changes the row of a job that is claimed locks its ticket first, then the rows.
"""

import logging
from collections.abc import Sequence
from typing import NamedTuple

import procrastinate
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.book import lasting, repeated
from engine.errors import KIND_SENTENCE, LedgerError
from engine.events import FINAL_STATES, Cancelled, Failed, Final
from engine.jobs import Job
from engine.ledger import Beside, Ledger
from engine.queues.notes import final_note, station_channel
from engine.queues.tables import ProgressRow, Ticket, WorkerRow
from engine.rows import job_of
from engine.tables import Asker, JobRow, RequestRow

TASK = "pastiche.run"
FIRST = 1_000_000  # priority of what was handed back: it had its turn; a suspect comes before it
NOW: sa.ColumnElement[float] = sa.literal_column("extract(epoch from clock_timestamp())::float8")
_FETCH = sa.text(
    "SELECT id, args->>'job' AS job "
    "FROM procrastinate_fetch_job_v2(CAST(:queues AS varchar[]), :worker)"
)
_TAKE_OUT = sa.text("SELECT procrastinate_cancel_job_v1(:number, false, true)")
_DISCARD = sa.text("DELETE FROM procrastinate_jobs WHERE id = ANY(:numbers)")
_AGAIN = sa.text(
    "SELECT procrastinate_retry_job_v2(waiting.id, NULL, :first + CASE WHEN jobs.alone THEN 1 ELSE 0 "
    "END, NULL, NULL) FROM procrastinate_jobs AS waiting "
    "JOIN tickets ON tickets.number = waiting.id JOIN jobs ON jobs.id = tickets.job_id "
    "WHERE waiting.id = ANY(:numbers) AND waiting.status = 'doing'"
)
_NOTIFY = sa.text("SELECT pg_notify(:channel, :words)")
log = logging.getLogger(__name__)
_APP = procrastinate.App(connector=procrastinate.PsycopgConnector())  # only to write with ours


class Claim(NamedTuple):
    """A job that a worker has taken."""

    job: Job
    deaths_alone: int
    accepted_at: float
    asker: str
    cancelled: bool


async def notify(connection: AsyncConnection, channel: str, words: str) -> None:
    """Heard when the transaction is committed."""
    await connection.execute(_NOTIFY, {"channel": channel, "words": words})


class Tickets:
    """The queue's moves; raises LedgerError."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def waiting(self) -> int:
        """How many jobs are unfinished."""
        async with self.ledger.reading() as connection:
            return int(await connection.scalar(sa.select(sa.func.count(Ticket.job_id))) or 0)

    async def issue(
        self, connection: AsyncConnection, job: str, asker: str, queue: str, reply_to: str | None
    ) -> None:
        """Put a job of the ledger into its queue, behind whatever its asker has there already.

        The order is that of queues.line (start-time fair queueing): an asker's job has the turn after
        their last one's, and no turn before what is being done now.
        """
        here = Ticket.queue == queue
        turns = (
            sa.select(sa.func.max(Ticket.turn) + 1).where(here, Ticket.asker == asker),
            sa.select(
                sa.func.coalesce(
                    sa.func.max(Ticket.turn).filter(Ticket.worker.is_not(None)),
                    sa.func.min(Ticket.turn),
                    0,
                )
            ).where(here),
        )
        turn = await connection.scalar(
            sa.select(sa.func.greatest(*(one.scalar_subquery() for one in turns)))
        )
        raw = (await connection.get_raw_connection()).driver_connection
        deferred = _APP.configure_task(TASK, queue=queue, priority=-(turn or 0), connection=raw)
        number = await deferred.defer_async(job=job)
        values = {
            "job_id": job,
            "number": number,
            "queue": queue,
            "asker": asker,
            "turn": turn or 0,
        }
        await connection.execute(
            sa.insert(Ticket).values(**values, reply_to=reply_to, cancelled=False, created_at=NOW)
        )

    @repeated
    async def claim(self, worker: int, queues: Sequence[str]) -> Claim | None:
        """The next job for a worker, None when nothing waits in its queues."""
        while True:
            async with self.ledger.writing() as connection:
                taken = (
                    await connection.execute(_FETCH, {"queues": list(queues), "worker": worker})
                ).one()
                if taken.id is None:
                    return None
                ticket = (
                    await connection.execute(
                        sa.update(Ticket)
                        .where(Ticket.number == taken.id)
                        .values(worker=worker)
                        .returning(Ticket.asker, Ticket.cancelled)
                    )
                ).one_or_none()
                if ticket is None:  # the job's row was deleted while it waited
                    await connection.execute(_DISCARD, {"numbers": [taken.id]})
                    continue
                query = sa.select(JobRow.attempt).where(JobRow.id == taken.job)
                attempt = await connection.scalar(query)
            try:
                return await self._claimed(taken.job, ticket.asker, ticket.cancelled)
            except (ValueError, TypeError, LedgerError) as error:
                if isinstance(error.__cause__, sa.exc.SQLAlchemyError):
                    raise  # the database; what was taken here is handed back when it is noticed
                log.exception("a waiting job cannot be read", extra={"job": taken.job})
                reason = f"its row cannot be read: {type(error).__name__}"
                failed = Failed(
                    job=taken.job, attempt=attempt or 1, message=KIND_SENTENCE, reason=reason
                )
                await self.ledger.finish(failed, self.settling(worker, failed))

    async def _claimed(self, job: str, asker: str, cancelled: bool) -> Claim:
        async with self.ledger.reading() as connection:
            query = sa.select(JobRow.__table__).where(JobRow.id == job)
            row = (await connection.execute(query)).one()
        return Claim(job_of(row), row.deaths_alone, row.accepted_at, asker, cancelled)

    def settling(self, worker: int, event: Final) -> Beside:
        """Beside a final answer: the ticket and all that hangs on it go, if the worker still has it."""

        async def beside(connection: AsyncConnection) -> bool:
            gone = await connection.execute(
                sa.delete(Ticket)
                .where(Ticket.job_id == event.job, Ticket.worker == worker)
                .where(JobRow.id == Ticket.job_id, JobRow.attempt == event.attempt)
                .returning(Ticket.number, Ticket.reply_to)
            )
            ticket = gone.one_or_none()
            if ticket is None:
                return False
            await self._clear(connection, event.job, ticket.number, ticket.reply_to)
            return True

        return beside

    def holding(self, worker: int, job: str, words: str = "") -> Beside:
        """Beside any other write of a worker: it must have the ticket; `words` go to its follower."""

        async def beside(connection: AsyncConnection) -> bool:
            query = sa.select(Ticket.reply_to).where(Ticket.job_id == job, Ticket.worker == worker)
            row = (await connection.execute(query.with_for_update())).one_or_none()
            if row is not None and words and row.reply_to:
                await notify(connection, row.reply_to, words)
            return row is not None

        return beside

    async def _clear(
        self, connection: AsyncConnection, job: str, number: int, reply_to: str | None
    ) -> None:
        await connection.execute(_DISCARD, {"numbers": [number]})
        await connection.execute(sa.delete(ProgressRow).where(ProgressRow.job_id == job))
        if reply_to:
            await notify(connection, reply_to, final_note(job))

    @lasting
    async def hand_back(self, worker: int, jobs: Sequence[str] | None = None) -> int:
        """What the worker has, or these of it, wait again, before all others; how many.

        Nobody is blamed; the new attempt number makes whatever the worker still says too late.
        """
        async with self.ledger.writing() as connection:
            return await self.release(connection, Ticket.worker == worker, jobs)

    async def release(
        self,
        connection: AsyncConnection,
        whose: sa.ColumnElement[bool],
        jobs: Sequence[str] | None = None,
    ) -> int:
        """`hand_back` within a transaction."""
        update = sa.update(Ticket).where(whose).values(worker=None)
        if jobs is not None:
            update = update.where(Ticket.job_id.in_(jobs))
        freed = (await connection.execute(update.returning(Ticket.job_id, Ticket.number))).all()
        if freed:
            await connection.execute(
                sa.update(JobRow)
                .where(
                    JobRow.id.in_([row.job_id for row in freed]),
                    JobRow.state.not_in(FINAL_STATES),
                )
                .values(
                    state="queued",
                    attempt=JobRow.attempt + 1,
                    started_at=None,
                    first_token_at=None,
                )
            )
            numbers = [row.number for row in freed]
            await connection.execute(_AGAIN, {"numbers": numbers, "first": FIRST})
        return len(freed)

    async def held(self, worker: int) -> dict[str, bool]:
        """The jobs that a worker has by the queue's own word, and whether each was cancelled."""
        async with self.ledger.reading() as connection:
            query = sa.select(Ticket.job_id, Ticket.cancelled).where(Ticket.worker == worker)
            rows = (await connection.execute(query)).all()
        return {row.job_id: row.cancelled for row in rows}

    async def cancel(self, job: str) -> bool:
        """Over at once while it waits; its worker is told while it runs. False: it is over."""
        for _ in range(3):  # it may begin, or be handed back, in between
            async with self.ledger.reading() as connection:
                query = (
                    sa.select(JobRow.attempt, Ticket.number, Ticket.reply_to, Ticket.worker)
                    .join(Ticket, Ticket.job_id == JobRow.id)
                    .where(JobRow.id == job)
                )
                row = (await connection.execute(query)).one_or_none()
            if row is None:
                return False
            if row.worker is None and await self._end_waiting(
                Cancelled(job=job, attempt=row.attempt), row.number, row.reply_to
            ):
                return True
            if await self._ask_to_stop(job):
                return True
        return False

    async def _end_waiting(self, event: Final, number: int, reply_to: str | None) -> bool:
        """End a job that no worker has."""

        async def beside(connection: AsyncConnection) -> bool:
            if await connection.scalar(_TAKE_OUT, {"number": number}) is None:
                return False  # a worker has just taken it
            await connection.execute(sa.delete(Ticket).where(Ticket.job_id == event.job))
            await self._clear(connection, event.job, number, reply_to)
            return True

        return await self.ledger.finish(event, beside)

    @lasting
    async def _ask_to_stop(self, job: str) -> bool:
        """Tell the worker's station to look at its tickets."""
        async with self.ledger.writing() as connection:
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
        async with self.ledger.reading() as connection:
            query = (
                sa.select(JobRow.attempt, Ticket.number, Ticket.reply_to, WorkerRow.station)
                .join(Ticket, Ticket.job_id == JobRow.id)
                .join(WorkerRow, WorkerRow.number == Ticket.worker, isouter=True)
                .where(JobRow.id == job)
            )
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return False

        async def beside(connection: AsyncConnection) -> bool:
            gone = sa.delete(Ticket).where(Ticket.job_id == job).returning(Ticket.job_id)
            if (await connection.execute(gone)).one_or_none() is None:
                return False
            await self._clear(connection, job, row.number, row.reply_to)
            if row.station is not None:
                await notify(connection, station_channel(row.station), "look")
            return True

        failed = Failed(job=job, attempt=row.attempt, message=KIND_SENTENCE, reason=reason)
        return await self.ledger.finish(failed, beside)

    async def stuck(self, job: str) -> bool:
        """Take it from its worker and let it wait again; False when no worker has it."""
        async with self.ledger.writing() as connection:
            query = (
                sa.select(WorkerRow.station)
                .join(Ticket, Ticket.worker == WorkerRow.number)
                .where(Ticket.job_id == job)
            )
            station = await connection.scalar(query)
            whose = sa.and_(Ticket.job_id == job, Ticket.worker.is_not(None))
            if not await self.release(connection, whose):
                return False
            if station is not None:
                await notify(connection, station_channel(station), "look")
        return True

    async def asker_of(self, connection: AsyncConnection, job: str) -> tuple[str, str]:
        """(the asker's lookup, the expert) of a job of the ledger."""
        query = (
            sa.select(Asker.lookup, JobRow.expert)
            .join(RequestRow, RequestRow.asker_id == Asker.id)
            .join(JobRow, JobRow.request_id == RequestRow.id)
            .where(JobRow.id == job)
        )
        row = (await connection.execute(query)).one()
        return row.lookup, row.expert

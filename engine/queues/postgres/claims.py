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

from engine.errors import KIND_SENTENCE, LedgerError
from engine.events import FINAL_STATES, Failed, Final
from engine.ledger.ledger import Beside, Ledger
from engine.ledger.rows import job_of
from engine.ledger.tables import Asker, JobRow, RequestRow
from engine.ledger.transactions import lasting, repeated
from engine.plan.job import Job
from engine.queues.notes import final_note
from engine.queues.postgres.tables import ProgressRow, Ticket

TASK = "pastiche.run"
FIRST = 1_000_000  # priority of what was handed back: it had its turn; a suspect comes before it
NOW: sa.ColumnElement[float] = sa.literal_column("extract(epoch from clock_timestamp())::float8")
# A claim that a crash of the server undoes is a job that waits again: it need not wait for the disk.
_FETCH = sa.text(
    "SELECT id, args->>'job' AS job "
    "FROM set_config('synchronous_commit', 'off', true), "
    "procrastinate_fetch_job_v2(CAST(:queues AS varchar[]), :worker)"
)
_HOLD = sa.text(
    "WITH held AS (SELECT reply_to FROM tickets WHERE job_id = :job AND worker = :worker FOR UPDATE) "
    "SELECT set_config('synchronous_commit', 'off', true), CASE WHEN reply_to IS NOT NULL AND "
    "CAST(:words AS text) IS NOT NULL THEN pg_notify(reply_to, CAST(:words AS text)) END FROM held"
)
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


class Claims:
    """The queue's moves; raises LedgerError."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def waiting(self, connection: AsyncConnection) -> int:
        """How many jobs are unfinished."""
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
                found = await self._claimed(connection, worker, taken.id)
                if found is None:  # the job's row was deleted while it waited
                    await connection.execute(_DISCARD, {"numbers": [taken.id]})
            if isinstance(found, Claim):
                return found
            if found is not None:
                await self.ledger.finish(found, self.settling(worker, found))

    async def _claimed(
        self, connection: AsyncConnection, worker: int, number: int
    ) -> Claim | Failed | None:
        """The job of a number, now the worker's; Failed for one that cannot be read any more."""
        ticket = (
            await connection.execute(
                sa.update(Ticket)
                .where(Ticket.number == number, JobRow.id == Ticket.job_id)
                .values(worker=worker)
                .returning(Ticket.job_id, Ticket.asker, Ticket.cancelled, JobRow.attempt)
            )
        ).one_or_none()
        if ticket is None:
            return None
        try:
            query = sa.select(JobRow.__table__).where(JobRow.id == ticket.job_id)
            row = (await connection.execute(query)).one()
            job = job_of(row._mapping)
        except (ValueError, TypeError, LedgerError) as error:
            log.exception("a waiting job cannot be read", extra={"job": ticket.job_id})
            reason = f"its row cannot be read: {type(error).__name__}"
            return Failed(
                job=ticket.job_id, attempt=ticket.attempt, message=KIND_SENTENCE, reason=reason
            )
        return Claim(job, row.deaths_alone, row.accepted_at, ticket.asker, ticket.cancelled)

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
            await self.clear(connection, event.job, ticket.number, ticket.reply_to)
            return True

        return beside

    def holding(self, worker: int, job: str, words: str | None = None) -> Beside:
        """Beside any other write of a worker: it must have the ticket; `words` go to its follower.

        Like a claim this does not wait for the disk: undone, it is found out or done again.
        """

        async def beside(connection: AsyncConnection) -> bool:
            values = {"job": job, "worker": worker, "words": words}
            return (await connection.execute(_HOLD, values)).one_or_none() is not None

        return beside

    async def clear(
        self, connection: AsyncConnection, job: str, number: int, reply_to: str | None
    ) -> None:
        """What hangs on a ticket that is gone goes too, and its follower is told that it is over."""
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

"""Claims: every move of a job through the queue on PostgreSQL, in one transaction with its ledger row.

A job that is unfinished has a row in `tickets`. A worker claims the first that waits by locking its
row and skipping those that others have locked
(https://www.postgresql.org/docs/current/sql-select.html#SQL-FOR-UPDATE-SHARE). Every later write of
the worker locks that row again, in the same transaction, and is refused once the ticket is not its
own any more: that fences off a worker that was cut off, frozen or declared gone. A library whose
worker claims and finishes in transactions of its own cannot give that (docs/queues.md says which was
tried). Whoever changes the rows of a job that is claimed locks its ticket first.

The order is start-time fair queueing, as in queues.fair_queue: an asker's job has the turn after their
last one's, and no turn before what is being done now. The lowest `rank` comes next, which is the turn
and the time of acceptance in units of TURN_SECONDS: so nobody waits for ever while others come and go.
"""

import logging
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import KIND_SENTENCE, LedgerError
from engine.events import Failed, Final
from engine.ledger.ledger import AGAIN, OPEN, Beside, Ledger
from engine.ledger.rows import UnfinishedJob, job_of
from engine.ledger.tables import Asker, JobRow, RequestRow
from engine.ledger.transactions import lasting, repeated
from engine.queues.postgres.notifications import notify, queue_channel
from engine.queues.postgres.tables import ProgressRow, Ticket

TURN_SECONDS = 30.0  # so long a wait counts as much as one turn of everybody else
SUSPECT, HANDED_BACK = -2.0, -1.0  # ranks of what has had its turn
NOW: sa.ColumnElement[float] = sa.literal_column("extract(epoch from clock_timestamp())::float8")
# A claim that a crash of the server undoes is a job that waits again: it need not wait for the disk.
UNSYNCED = sa.func.set_config("synchronous_commit", "off", True)
# Without MATERIALIZED a plan may look for the first, and lock it, more than once.
_CLAIM = sa.text("""
    WITH first AS MATERIALIZED (
        SELECT job_id FROM tickets WHERE queue = ANY(:queues) AND worker IS NULL
        ORDER BY rank, job_id LIMIT 1 FOR UPDATE SKIP LOCKED)
    UPDATE tickets SET worker = :worker FROM first WHERE tickets.job_id = first.job_id
    RETURNING tickets.job_id, asker, cancelled, set_config('synchronous_commit', 'off', true)
""")
_ISSUE = sa.text("""
    WITH new AS (SELECT extract(epoch FROM clock_timestamp())::float8 AS now, greatest(
        (SELECT max(turn) + 1 FROM tickets WHERE queue = :queue AND asker = :asker),
        (SELECT coalesce(max(turn) FILTER (WHERE worker IS NOT NULL), min(turn), 0)
            FROM tickets WHERE queue = :queue)) AS turn)
    INSERT INTO tickets (job_id, queue, asker, turn, rank, reply_to, cancelled, created_at)
    SELECT CAST(:job AS text), CAST(:queue AS text), CAST(:asker AS text), turn,
        turn + now / :turn_seconds, CAST(:reply_to AS text), false, now FROM new
    RETURNING pg_notify(:channel, '')
""")
_HOLD = sa.text(
    "WITH held AS (SELECT reply_to FROM tickets WHERE job_id = :job AND worker = :worker FOR UPDATE) "
    "SELECT set_config('synchronous_commit', 'off', true), CASE WHEN reply_to IS NOT NULL AND "
    "CAST(:words AS text) IS NOT NULL THEN pg_notify(reply_to, CAST(:words AS text)) END FROM held"
)
log = logging.getLogger(__name__)


class Claims:
    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    async def issue(
        self, connection: AsyncConnection, job: str, asker: str, queue: str, reply_to: str | None
    ) -> None:
        """Put a job of the ledger into its queue, behind whatever its asker has there already."""
        values = {"job": job, "asker": asker, "queue": queue, "reply_to": reply_to}
        limits = {"turn_seconds": TURN_SECONDS, "channel": queue_channel(queue)}
        await connection.execute(_ISSUE, values | limits)

    @repeated
    async def claim(self, worker: int, queues: Sequence[str]) -> tuple[UnfinishedJob, bool] | None:
        """Take the next job for a worker, and say whether it was cancelled; None when nothing waits."""
        while True:
            async with self.ledger.writing() as connection:
                found = await self._next(connection, worker, queues)
            if not isinstance(found, Failed):
                return found
            await self.ledger.finish(found, self.settling(worker, found))

    async def _next(
        self, connection: AsyncConnection, worker: int, queues: Sequence[str]
    ) -> tuple[UnfinishedJob, bool] | Failed | None:
        values = {"worker": worker, "queues": list(queues)}
        ticket = (await connection.execute(_CLAIM, values)).one_or_none()
        if ticket is None:
            return None
        query = sa.select(JobRow.__table__).where(JobRow.id == ticket.job_id)
        try:
            row = (await connection.execute(query)).one()
            job = job_of(row._mapping)
        except (ValueError, TypeError, LedgerError) as error:
            log.exception("a waiting job cannot be read", extra={"job": ticket.job_id})
            named = sa.select(JobRow.attempt).where(JobRow.id == ticket.job_id)
            attempt = await connection.scalar(named) or 1
            why = f"its row cannot be read: {type(error).__name__}"
            return Failed(job=ticket.job_id, attempt=attempt, message=KIND_SENTENCE, reason=why)
        left = UnfinishedJob(job, row.deaths_alone, row.accepted_at, ticket.asker)
        return left, ticket.cancelled

    def settling(self, worker: int, event: Final) -> Beside:
        """Beside a final answer: delete the ticket; refuse it if the worker has the ticket no more."""

        async def beside(connection: AsyncConnection) -> bool:
            return await self.remove(connection, event, Ticket.worker == worker)

        return beside

    async def remove(
        self, connection: AsyncConnection, event: Final, if_: sa.ColumnElement[bool]
    ) -> bool:
        same = JobRow.id == Ticket.job_id, JobRow.attempt == event.attempt  # a later one needs it
        gone = sa.delete(Ticket).where(Ticket.job_id == event.job, *same, if_)
        ticket = (await connection.execute(gone.returning(Ticket.reply_to))).one_or_none()
        if ticket is None:
            return False
        await connection.execute(sa.delete(ProgressRow).where(ProgressRow.job_id == event.job))
        if ticket.reply_to:
            await notify(connection, ticket.reply_to, f"F {event.job}")
        return True

    def holding(self, worker: int, job: str, words: str | None = None) -> Beside:
        """Beside any other write of a worker: lock its ticket, and send `words` to its follower. Like a
        claim this does not wait for the disk: undone, it is found out or done again."""

        async def beside(connection: AsyncConnection) -> bool:
            values = {"job": job, "worker": worker, "words": words}
            return (await connection.execute(_HOLD, values)).one_or_none() is not None

        return beside

    @lasting
    async def hand_back(self, worker: int, jobs: Sequence[str] | None = None) -> int:
        """Let what the worker has, or these of it, wait again; what it still says comes too late."""
        async with self.ledger.writing() as connection:
            return await self.release(connection, Ticket.worker == worker, jobs)

    async def release(
        self,
        connection: AsyncConnection,
        whose: sa.ColumnElement[bool],
        jobs: Sequence[str] | None = None,
    ) -> int:
        rank = sa.case((JobRow.alone, SUSPECT), else_=HANDED_BACK)
        update = sa.update(Ticket).where(whose, JobRow.id == Ticket.job_id)
        if jobs is not None:
            update = update.where(Ticket.job_id.in_(jobs))
        update = update.values(worker=None, rank=rank).returning(Ticket.job_id, Ticket.queue)
        freed = (await connection.execute(update)).all()
        if freed:
            theirs = JobRow.id.in_([row.job_id for row in freed])
            await connection.execute(sa.update(JobRow).where(theirs, OPEN).values(AGAIN))
        for queue in {row.queue for row in freed}:
            await notify(connection, queue_channel(queue))
        return len(freed)

    async def held(self, worker: int) -> dict[str, bool]:
        """Read which jobs a worker has by the queue's own word, and whether each was cancelled."""
        query = sa.select(Ticket.job_id, Ticket.cancelled).where(Ticket.worker == worker)
        return {row.job_id: row.cancelled for row in await self.ledger.rows(query)}

    async def issue_anew(
        self, connection: AsyncConnection, job: str, queues: Mapping[str, str]
    ) -> str | None:
        """Give a job of the ledger a ticket in the queue of its expert; None if `queues` lacks it."""
        query = (
            sa.select(Asker.lookup, JobRow.expert)
            .join(RequestRow, RequestRow.asker_id == Asker.id)
            .join(JobRow, JobRow.request_id == RequestRow.id)
            .where(JobRow.id == job)
        )
        row = (await connection.execute(query)).one()
        queue = queues.get(row.expert)
        if queue is not None:
            await self.issue(connection, job, row.lookup, queue, None)
        return queue

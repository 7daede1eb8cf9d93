"""Maintains the queue on PostgreSQL: frees the jobs of workers that fell silent, gives a ticket to jobs
without one, and moves, after an upgrade, what no worker serves any more.

Everything is judged by the database's clock. Rows that somebody holds are left for the next run: a
machine that was cut off in the middle of a transaction holds them until the server notices, and must
not keep all others waiting.
"""

import logging

import sqlalchemy as sa

from engine.errors import LedgerError
from engine.events import FINAL_STATES
from engine.ledger.ledger import OPEN, Ledger
from engine.ledger.tables import JobRow
from engine.ledger.transactions import repeated
from engine.queues.postgres.claims import NOW, Claims
from engine.queues.postgres.notifications import notify, queue_channel
from engine.queues.postgres.tables import ProgressRow, Ticket, WorkerRow
from engine.workers.fingerprint import ServingFingerprint

RUNS = 3  # within the time after which a silent worker counts as gone
HEALED = 100  # jobs without a ticket that get one in one run
LOCK = 0x50617374_72657363  # one at a time, whichever worker host runs it
_LOCK = sa.select(sa.func.pg_try_advisory_xact_lock(LOCK))

log = logging.getLogger(__name__)


class Maintenance:
    def __init__(self, ledger: Ledger, fingerprint: ServingFingerprint, lost_after: float) -> None:
        self._ledger = ledger
        self._claims = Claims(ledger)
        self._fingerprint = fingerprint
        self.pause = lost_after / RUNS
        self._silent = WorkerRow.seen_at < NOW - lost_after

    async def run(self) -> None:
        for part in (self._free, self._without_ticket, self._clear_away):
            try:
                await part()
            except LedgerError as error:
                log.warning("maintenance was interrupted", extra={"why": str(error)})

    async def _free(self) -> None:
        """Let what silent workers had wait again; nobody is blamed."""
        silent = sa.select(WorkerRow.number).where(self._silent)
        lost = (
            sa.select(Ticket.job_id)
            .where(Ticket.worker.is_not(None))
            .where(Ticket.worker.in_(silent) | Ticket.worker.not_in(sa.select(WorkerRow.number)))
            .with_for_update(skip_locked=True)
        )
        async with self._ledger.writing() as connection:
            if not await connection.scalar(_LOCK):
                return
            jobs = list(await connection.scalars(lost))
            if jobs:
                await self._claims.release(connection, Ticket.worker.is_not(None), jobs)
                log.warning("jobs of silent workers wait again", extra={"jobs": len(jobs)})

    async def _clear_away(self) -> None:
        silent = sa.select(WorkerRow.number).where(self._silent).with_for_update(skip_locked=True)
        over = sa.select(JobRow.id).where(JobRow.state.in_(FINAL_STATES))
        async with self._ledger.writing() as connection:
            gone = sa.delete(WorkerRow).where(WorkerRow.number.in_(silent))
            workers = (await connection.execute(gone)).rowcount
            await connection.execute(sa.delete(ProgressRow).where(ProgressRow.job_id.in_(over)))
        if workers:
            log.warning("workers are gone", extra={"workers": workers})

    async def _without_ticket(self) -> None:
        """Give a job of the ledger that is in no queue (a restored backup) its ticket."""
        without = (
            sa.select(JobRow.id)
            .join(Ticket, Ticket.job_id == JobRow.id, isouter=True)
            .where(OPEN, Ticket.job_id.is_(None))
        )
        jobs = await self._ledger.scalars(without.order_by(JobRow.id).limit(HEALED))
        for job in jobs:
            this = without.where(JobRow.id == job).with_for_update(skip_locked=True, of=JobRow)
            async with self._ledger.writing() as connection:
                if not await connection.scalar(_LOCK) or not await connection.scalar(this):
                    continue
                queue = await self._claims.issue_anew(connection, job, self._fingerprint.queues)
            if queue is not None:
                log.warning("a job had no ticket", extra={"job": job})


@repeated
async def move_stranded(ledger: Ledger, fingerprint: ServingFingerprint, lost_after: float) -> int:
    """Move what waits in a queue that no living worker serves to that of these cards, if one serves it;
    how many.

    A queue's name says what it is served with (workers.fingerprint), so jobs from before an upgrade
    would wait for ever once the last old worker has left. Whoever asks decides what is expected, by its
    own cards; a worker never takes over by itself what it would answer with other weights.
    """
    moved = 0
    async with ledger.writing() as connection:
        living = sa.select(WorkerRow.queues).where(WorkerRow.seen_at > NOW - lost_after)
        served = {queue for queues in await connection.scalars(living) for queue in queues}
        stranded = (
            sa.select(Ticket.job_id, JobRow.expert)
            .join(JobRow, JobRow.id == Ticket.job_id)
            .where(Ticket.worker.is_(None), Ticket.queue.not_in(served))
        )
        targets: dict[str, list[str]] = {}
        for row in await connection.execute(stranded):
            queue = fingerprint.queues.get(row.expert)
            if queue in served and queue is not None:
                targets.setdefault(queue, []).append(row.job_id)
        for queue, jobs in targets.items():
            these = sa.update(Ticket).where(Ticket.job_id.in_(jobs), Ticket.worker.is_(None))
            moved += (await connection.execute(these.values(queue=queue))).rowcount
            await notify(connection, queue_channel(queue))
    if moved:
        log.warning("jobs moved to a queue that is served", extra={"jobs": moved})
    return moved

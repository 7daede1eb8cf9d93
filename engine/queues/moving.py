"""After an upgrade: what waits for workers that are no more goes to those that there are.

A queue's name says what it is served with (queues.kits), so jobs that were accepted before an upgrade
of cards or program would wait for ever once the last old worker has left. The processes that ask
decide what is expected, so they do this, each with its own cards; a worker never takes over by itself
what it would answer with other weights.
"""

import logging

import sqlalchemy as sa

from engine.ledger.ledger import Ledger
from engine.ledger.tables import JobRow
from engine.ledger.transactions import repeated
from engine.queues.postgres.claims import NOW
from engine.queues.postgres.tables import Ticket, WorkerRow
from engine.workers.fingerprint import ServingFingerprint

_MOVE = sa.text(
    "UPDATE procrastinate_jobs SET queue_name = :queue "
    "WHERE id = ANY(:numbers) AND status = 'todo' RETURNING id"
)

log = logging.getLogger(__name__)


class Moving:
    """See the module's own words."""

    def __init__(self, ledger: Ledger, kit: ServingFingerprint, lost_after: float) -> None:
        self._ledger = ledger
        self._kit = kit
        self._lost_after = lost_after

    @repeated
    async def run(self) -> int:
        """Move what waits in a queue that no living worker serves to that of these cards, if some
        worker serves it; how many."""
        async with self._ledger.writing() as connection:
            living = sa.select(WorkerRow.queues).where(WorkerRow.seen_at > NOW - self._lost_after)
            served = {queue for queues in await connection.scalars(living) for queue in queues}
            stranded = (
                sa.select(Ticket.number, JobRow.expert)
                .join(JobRow, JobRow.id == Ticket.job_id)
                .where(Ticket.worker.is_(None), Ticket.queue.not_in(served))
            )
            targets: dict[str, list[int]] = {}
            for row in (await connection.execute(stranded)).all():
                queue = self._kit.queues.get(row.expert)
                if queue in served and queue is not None:
                    targets.setdefault(queue, []).append(row.number)
            moved = 0
            for queue, numbers in targets.items():
                found = await connection.scalars(_MOVE, {"queue": queue, "numbers": numbers})
                those = list(found)
                moved += len(those)
                tickets = sa.update(Ticket).where(Ticket.number.in_(those))
                await connection.execute(tickets.values(queue=queue))
        if moved:
            log.warning("jobs moved to a queue that is served", extra={"jobs": moved})
        return moved

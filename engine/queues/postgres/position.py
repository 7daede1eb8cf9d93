"""Reads the queue on PostgreSQL: a job's position, how long that takes, and which workers there are."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from engine.events import Queued
from engine.ledger.ledger import Ledger
from engine.ledger.tables import JobRow
from engine.overview import WorkerSeen
from engine.queues.dispatcher import FIRST_GUESS_SECONDS
from engine.queues.postgres.claims import NOW
from engine.queues.postgres.tables import Ticket, WorkerRow
from engine.workers.fingerprint import ServingFingerprint, differs

MEASURED_JOBS = 20  # the newest of a medium, whose mean duration is what the next one is guessed at
KEPT_SECONDS = 10.0  # how long a mean is kept
_POSITIONS = sa.text(
    "SELECT * FROM (SELECT job_id AS job, queue, reply_to, CASE WHEN worker IS NOT NULL THEN 0 ELSE "
    "row_number() OVER (PARTITION BY queue ORDER BY worker IS NULL, rank, job_id) - 1 END AS place "
    "FROM tickets WHERE queue IN (SELECT queue FROM tickets WHERE job_id = ANY(:jobs))"
    ") AS line WHERE job = ANY(:jobs)"
)


@dataclass(frozen=True, slots=True)
class Position:
    """A waiting or running job: its place, its queue, its follower's channel; of those that serve it the
    slots of the ready ones, and how many are only starting."""

    queued: Queued
    queue: str
    reply_to: str | None
    slots: int
    starting: int


@dataclass(slots=True, eq=False)
class Positions:
    ledger: Ledger
    fingerprint: ServingFingerprint
    lost_after: float
    _means: dict[str, tuple[float, float]] = field(default_factory=dict)

    async def of(self, jobs: Sequence[str]) -> dict[str, Position]:
        async with self.ledger.reading() as connection:
            rows = (await connection.execute(_POSITIONS, {"jobs": list(jobs)})).all()
        workers = await self.workers()
        found = {}
        for row in rows:
            slots, starting = _serving(workers, row.queue)
            eta = row.place * await self._mean(row.queue.partition(".")[0]) / max(1, slots)
            queued = Queued(job=row.job, position=row.place, eta=eta)
            found[row.job] = Position(queued, row.queue, row.reply_to, slots, starting)
        return found

    async def _mean(self, medium: str) -> float:
        known = self._means.get(medium)
        if known is not None and time.monotonic() - known[1] < KEPT_SECONDS:
            return known[0]
        newest = (
            sa.select((JobRow.finished_at - JobRow.started_at).label("seconds"))
            .where(JobRow.state == "finished", JobRow.medium == medium)
            .order_by(JobRow.id.desc())
            .limit(MEASURED_JOBS)
            .subquery()
        )
        mean = await self.ledger.scalar(sa.select(sa.func.avg(newest.c.seconds)))
        seconds = FIRST_GUESS_SECONDS if mean is None else float(mean)
        self._means[medium] = (seconds, time.monotonic())
        return seconds

    async def workers(self) -> list[WorkerSeen]:
        query = sa.select(
            sa.func.concat(WorkerRow.medium, "-", WorkerRow.number).label("name"),
            WorkerRow.medium, WorkerRow.host, WorkerRow.pid, WorkerRow.state, WorkerRow.slots,
            WorkerRow.running, WorkerRow.version, WorkerRow.queues,
            sa.func.coalesce(WorkerRow.reason, "").label("reason"),
            sa.func.greatest(0.0, NOW - WorkerRow.seen_at).label("seen_seconds"),
        ).where(WorkerRow.seen_at > NOW - self.lost_after)  # fmt: skip
        rows = await self.ledger.rows(query.order_by(WorkerRow.number))
        return [WorkerSeen(**{**row._mapping, "queues": tuple(row.queues)}) for row in rows]

    async def unserved(self) -> tuple[str, ...]:
        query = sa.select(Ticket.queue, sa.func.count()).group_by(Ticket.queue)
        waiting = await self.ledger.rows(query)
        workers = await self.workers()
        alone = [each for each in waiting if not any(_serving(workers, each[0]))]
        return tuple([f"{q}: {count} waiting. {await self.hint(q)}" for q, count in alone])

    async def hint(self, queue: str) -> str:
        medium, base, _ = queue.split(".", 2)
        query = sa.select(WorkerRow.__table__).where(
            WorkerRow.medium == medium, WorkerRow.seen_at > NOW - self.lost_after
        )
        ours = self.fingerprint
        for row in await self.ledger.rows(query):
            if queue in row.queues:
                return f"The worker on {row.host} cannot serve it: {row.reason or row.state}"
            for other in (q for q in row.queues if q.startswith(f"{medium}.{base}.")):
                if row.version != ours.version:
                    how = f"version {row.version} of the program, this is {ours.version}"
                else:
                    how = differs(ours.weights.get(queue, {}), row.weights.get(other, {}))
                return (
                    f"The worker on {row.host} (process {row.pid}) has {how}, so it gets none of "
                    "these. Install the same on both, then restart it."
                )
        return f"Start a worker that has the base: pastiche worker --media {medium}"


def _serving(workers: Sequence[WorkerSeen], queue: str) -> tuple[int, int]:
    mine = [worker for worker in workers if queue in worker.queues]
    slots = sum(worker.slots for worker in mine if worker.state == "ready")
    return slots, sum(worker.state == "starting" for worker in mine)

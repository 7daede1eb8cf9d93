"""Counting the ledger's jobs for queues.overview, and bringing back or burying one that is over."""

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.events import FINAL_STATES
from engine.ledger.ledger import Ledger
from engine.ledger.tables import Delivery, JobRow, Output
from engine.overview import (
    MOST_DEAD,
    TAKEN_OUT,
    WINDOW_MINUTES,
    DeadJob,
    MediumQueue,
    Overview,
    WorkerSeen,
)

Beside = Callable[[AsyncConnection, str], Awaitable[None]]


async def _nothing(_connection: AsyncConnection, _job: str) -> None:
    """Nothing else belongs into the transaction."""


class Census:
    """Reads the record of either queue."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def overview(
        self, kind: str, workers: tuple[WorkerSeen, ...], unserved: tuple[str, ...] = ()
    ) -> Overview:
        """See queues.overview."""
        now = self._ledger.clock()
        since = now - 60 * WINDOW_MINUTES
        open_jobs = sa.select(
            JobRow.medium, JobRow.state, sa.func.count(), sa.func.min(JobRow.accepted_at)
        ).where(JobRow.state.not_in(FINAL_STATES))
        done = sa.select(JobRow.medium, sa.func.count()).where(
            JobRow.state == "finished", JobRow.finished_at >= since
        )
        lost = sa.select(
            JobRow.id, JobRow.medium, JobRow.expert, JobRow.state, JobRow.attempt,
            JobRow.finished_at, JobRow.error,
        ).where(
            sa.or_(
                JobRow.state == "dead",
                sa.and_(JobRow.state == "failed", JobRow.finished_at >= since),
            )
        )  # fmt: skip
        async with self._ledger.reading() as connection:
            grouped = open_jobs.group_by(JobRow.medium, JobRow.state)
            waiting = (await connection.execute(grouped)).all()
            rates = (await connection.execute(done.group_by(JobRow.medium))).all()
            newest = lost.order_by(JobRow.finished_at.desc()).limit(MOST_DEAD)
            dead = (await connection.execute(newest)).all()
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        oldest: dict[str, float] = {}
        for medium, state, count, accepted_at in waiting:
            counts[medium]["running" if state == "running" else "queued"] += count
            oldest[medium] = min(oldest.get(medium, now), accepted_at)
        finished: dict[str, int] = {row[0]: row[1] for row in rates}
        lost_jobs = [
            DeadJob(
                job=row.id,
                medium=row.medium,
                expert=row.expert,
                state=row.state,
                attempt=row.attempt,
                seconds_ago=max(0.0, now - (row.finished_at or now)),
                reason=row.error or "",
            )
            for row in dead
            if row.error != TAKEN_OUT
        ]
        media = sorted({"text", "image"} | counts.keys() | finished.keys(), reverse=True)
        return Overview(
            kind=kind,
            media=tuple(
                MediumQueue(
                    medium=medium,
                    queued=counts[medium]["queued"],
                    running=counts[medium]["running"],
                    oldest_seconds=max(0.0, now - oldest.get(medium, now)),
                    done_per_minute=finished.get(medium, 0) / WINDOW_MINUTES,
                )
                for medium in media
            ),
            workers=workers,
            dead=tuple(job for job in lost_jobs if job.state == "dead"),
            failed=tuple(job for job in lost_jobs if job.state == "failed"),
            unserved=unserved,
        )

    async def revive(self, job: str, beside: Beside = _nothing) -> bool:
        """Queue a dead or failed job again, under a new attempt; its answer is owed once more.

        False for any other, for one that was taken out, and where the words were blanked meanwhile.
        """
        async with self._ledger.writing() as connection:
            why = await connection.scalar(sa.select(JobRow.error).where(JobRow.id == job))
            if why == TAKEN_OUT:
                return False
            revived = await connection.execute(
                sa.update(JobRow)
                .where(
                    JobRow.id == job,
                    JobRow.state.in_(("dead", "failed")),
                    JobRow.prompt.is_not(None),
                )
                .values(
                    state="queued",
                    attempt=JobRow.attempt + 1,
                    alone=JobRow.state == "dead",
                    deaths_alone=0,
                    error=None,
                    started_at=None,
                    first_token_at=None,
                    finished_at=None,
                )
            )
            if not revived.rowcount:
                return False
            await connection.execute(sa.delete(Output).where(Output.job_id == job))
            await connection.execute(
                sa.update(Delivery)
                .where(Delivery.job_id == job, Delivery.address.is_not(None))
                .values(state="owed", tries=0, due_at=None, delivered_at=None)
            )
            await beside(connection, job)
        return True

    async def bury(self, job: str) -> bool:
        """A dead job leaves the list: it is one that was taken out."""
        async with self._ledger.writing() as connection:
            buried = await connection.execute(
                sa.update(JobRow)
                .where(JobRow.id == job, JobRow.state == "dead")
                .values(state="failed", error=TAKEN_OUT)
            )
        return bool(buried.rowcount)

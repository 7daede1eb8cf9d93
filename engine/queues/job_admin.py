"""Counts the ledger's jobs for engine.overview, and revives or buries one that is over."""

import os
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.ledger import AGAIN, OPEN, Ledger
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
from engine.plan.job import Status, Waiting

Beside = Callable[[AsyncConnection, str], Awaitable[None]]


class JobAdmin:
    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    async def status(self, workers: Sequence[WorkerSeen]) -> Status:
        now = self._ledger.clock()
        query = sa.select(
            JobRow.id, JobRow.medium, JobRow.expert, JobRow.state, JobRow.accepted_at
        ).where(OPEN)
        waiting = tuple(
            Waiting(job=job, medium=medium, expert=expert, state=state, seconds=max(0.0, now - at))
            for job, medium, expert, state, at in await self._ledger.rows(
                query.order_by(JobRow.accepted_at, JobRow.id)
            )
        )
        states: dict[str, str] = {}
        for worker in workers:
            if states.get(worker.medium) != "ready":
                states[worker.medium] = worker.state
        return Status(owner=os.getpid(), waiting=waiting, workers=states)

    async def overview(
        self, kind: str, workers: Sequence[WorkerSeen], unserved: tuple[str, ...] = ()
    ) -> Overview:
        now = self._ledger.clock()
        since = now - 60 * WINDOW_MINUTES
        jobs = await self._given_up(now, since)
        return Overview(
            kind=kind,
            media=await self._media(now, since),
            workers=tuple(workers),
            dead=tuple(job for job in jobs if job.state == "dead"),
            failed=tuple(job for job in jobs if job.state == "failed"),
            unserved=unserved,
        )

    async def revive(self, job: str, beside: Beside | None = None) -> bool:
        """Queue a dead or failed job again, under a new attempt; its answer is owed once more. False for
        any other, and where it was taken out or its words were blanked meanwhile."""
        async with self._ledger.writing() as connection:
            why = await connection.scalar(sa.select(JobRow.error).where(JobRow.id == job))
            if why == TAKEN_OUT:
                return False
            given_up = JobRow.id == job, JobRow.state.in_(("dead", "failed"))
            anew = {"alone": JobRow.state == "dead", "deaths_alone": 0, "error": None}
            revived = await connection.execute(
                sa.update(JobRow)
                .where(*given_up, JobRow.prompt.is_not(None))
                .values({**AGAIN, **anew, "finished_at": None})
            )
            if not revived.rowcount:
                return False
            await connection.execute(sa.delete(Output).where(Output.job_id == job))
            await connection.execute(
                sa.update(Delivery)
                .where(Delivery.job_id == job, Delivery.address.is_not(None))
                .values(state="owed", tries=0, due_at=None, delivered_at=None)
            )
            if beside is not None:
                await beside(connection, job)
        return True

    async def bury(self, job: str) -> bool:
        """Take a dead job from the list: it is one that was taken out."""
        dead = sa.update(JobRow).where(JobRow.id == job, JobRow.state == "dead")
        return bool(await self._ledger.change(dead.values(state="failed", error=TAKEN_OUT)))

    async def _media(self, now: float, since: float) -> tuple[MediumQueue, ...]:
        done = sa.and_(JobRow.state == "finished", JobRow.finished_at >= since)
        running, count = JobRow.state == "running", sa.func.count()
        oldest = sa.func.min(JobRow.accepted_at).filter(OPEN)
        figures = count.filter(OPEN, ~running), count.filter(running), oldest, count.filter(done)
        query = sa.select(JobRow.medium, *figures).where(OPEN | done).group_by(JobRow.medium)
        found: dict[str, Sequence[Any]] = {"text": (0, 0, None, 0), "image": (0, 0, None, 0)}
        found |= {medium: row for medium, *row in await self._ledger.rows(query)}
        return tuple(
            MediumQueue(
                medium=medium,
                queued=queued,
                running=runs,
                oldest_seconds=max(0.0, now - (now if first is None else first)),
                done_per_minute=finished / WINDOW_MINUTES,
            )
            for medium, (queued, runs, first, finished) in sorted(found.items(), reverse=True)
        )

    async def _given_up(self, now: float, since: float) -> list[DeadJob]:
        """Read the newest that died, or failed since then, but for those that were taken out."""
        failed = sa.and_(JobRow.state == "failed", JobRow.finished_at >= since)
        lost = (
            sa.select(
                JobRow.id.label("job"), JobRow.medium, JobRow.expert, JobRow.state, JobRow.attempt,
                (now - sa.func.coalesce(JobRow.finished_at, now)).label("seconds_ago"), JobRow.error,
            )
            .where(sa.or_(JobRow.state == "dead", failed))
            .order_by(JobRow.finished_at.desc())
            .limit(MOST_DEAD)
        )  # fmt: skip
        found = []
        for row in await self._ledger.rows(lost):
            facts = dict(row._mapping)
            reason = facts.pop("error") or ""
            facts["seconds_ago"] = max(0.0, facts["seconds_ago"])
            if reason != TAKEN_OUT:
                found.append(DeadJob(**facts, reason=reason))
        return found

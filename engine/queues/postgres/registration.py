"""A worker as the others see it: its row in `workers`, by the database's clock."""

import asyncio
import os
import socket
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.queues.postgres.claims import NOW, Claims
from engine.queues.postgres.tables import Ticket, WorkerRow
from engine.workers.fingerprint import ServingFingerprint

MAX_REASON = 500


@dataclass(slots=True, eq=False)
class Registration:
    """One medium of a process with workers. `number` is 0 until announced, `reason` is why it is unfit,
    `tried` when a worker was last started, `strange` since when it holds tickets of unknown jobs."""

    claims: Claims
    worker_host: str
    fingerprint: ServingFingerprint
    medium: str
    number: int = 0
    reason: str = ""
    tried: float = 0.0
    strange: dict[str, float] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def queues(self) -> list[str]:
        return self.fingerprint.of_medium(self.medium)

    async def announce(self) -> None:
        values = {
            "worker_host": self.worker_host,
            "host": socket.gethostname()[:64],
            "pid": os.getpid(),
            "medium": self.medium,
            "queues": self.queues,
            "weights": {queue: self.fingerprint.weights[queue] for queue in self.queues},
            "version": self.fingerprint.version[:40],
            "slots": 0,
            "running": 0,
            "state": "starting",
        }
        async with self.claims.ledger.writing() as connection:
            await self._forget(connection)
            row = sa.insert(WorkerRow).values(**values, seen_at=NOW).returning(WorkerRow.number)
            number = (await connection.execute(row)).scalar_one()
        self.number = number  # once it is committed

    async def _forget(self, connection: AsyncConnection) -> None:
        if self.number:
            await connection.execute(sa.delete(WorkerRow).where(WorkerRow.number == self.number))
            await self.claims.release(connection, Ticket.worker == self.number)

    async def beat(self, *, slots: int, running: int, leaving: bool) -> bool:
        """Give a sign of life; False when the others have counted this worker as gone."""
        fit = "ready" if slots else "unfit" if self.reason else "starting"
        values = {
            "slots": slots,
            "running": running,
            "state": "draining" if leaving else fit,
            "reason": self.reason[:MAX_REASON] or None,
            "seen_at": NOW,
        }
        mine = sa.update(WorkerRow).where(WorkerRow.number == self.number)
        return bool(await self.claims.ledger.change(mine.values(values)))

    async def needed(self, *, lazy: bool, lost_after: float) -> bool:
        """Tell whether something waits in its queues; if `lazy`, only if nobody else would take it."""
        mine = Ticket.queue.in_(self.queues), Ticket.worker.is_(None)
        waiting = sa.select(Ticket.job_id).where(*mine)
        others = sa.select(WorkerRow.queues).where(
            WorkerRow.medium == self.medium,
            WorkerRow.number != self.number,
            WorkerRow.state == "ready",
            WorkerRow.seen_at > NOW - lost_after,
        )
        if await self.claims.ledger.scalar(waiting.limit(1)) is None:
            return False
        there = await self.claims.ledger.scalars(others) if lazy else []
        return not any(set(queues) & set(self.queues) for queues in there)

    async def leave(self) -> None:
        async with self.claims.ledger.writing() as connection:
            await self._forget(connection)

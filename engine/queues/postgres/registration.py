"""The workers of a station as the others see them: their rows, by the database's clock."""

import asyncio
import os
import socket
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.ledger import Ledger
from engine.queues.postgres.claims import NOW, Claims
from engine.queues.postgres.notifications import queue_channel
from engine.queues.postgres.tables import Ticket, WorkerRow
from engine.workers.fingerprint import ServingFingerprint

MAX_REASON = 500


@dataclass(slots=True, eq=False)
class Registration:
    """One medium of a station. `number` is 0 until it is announced, `reason` says why it is unfit,
    `tried` when a worker was last started, `strange` since when it holds tickets of unknown jobs."""

    medium: str
    queues: list[str]
    number: int = 0
    reason: str = ""
    tried: float = 0.0
    strange: dict[str, float] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def channels(self) -> set[str]:
        """Where it hears of new jobs."""
        return {queue_channel(queue) for queue in self.queues}


class Registrations:
    """All of a station's."""

    def __init__(
        self, ledger: Ledger, station: str, kit: ServingFingerprint, media: Iterable[str]
    ) -> None:
        self._ledger = ledger
        self._tickets = Claims(ledger)
        self._station = station
        self._kit = kit
        self._posts = {medium: Registration(medium, kit.of_medium(medium)) for medium in media}

    def __iter__(self) -> Iterator[Registration]:
        return iter(list(self._posts.values()))

    def __getitem__(self, medium: str) -> Registration:
        return self._posts[medium]

    def __contains__(self, medium: str) -> bool:
        return medium in self._posts

    def numbers(self) -> list[int]:
        """Those that are announced."""
        return [post.number for post in self if post.number]

    async def announce(self, post: Registration) -> None:
        """Have a number; whatever it held under an earlier one waits again."""
        values = {
            "station": self._station,
            "host": socket.gethostname()[:64],
            "pid": os.getpid(),
            "medium": post.medium,
            "queues": post.queues,
            "kit": {queue: self._kit.weights[queue] for queue in post.queues},
            "version": self._kit.version[:40],
            "slots": 0,
            "running": 0,
            "state": "starting",
        }
        async with self._ledger.writing() as connection:
            if post.number:
                await self._forget(connection, post.number)
            row = sa.insert(WorkerRow).values(**values, seen_at=NOW).returning(WorkerRow.number)
            number = (await connection.execute(row)).scalar_one()
        post.number = number

    async def _forget(self, connection: AsyncConnection, number: int) -> None:
        await connection.execute(sa.delete(WorkerRow).where(WorkerRow.number == number))
        await self._tickets.release(connection, Ticket.worker == number)

    async def beat(self, post: Registration, *, slots: int, running: int, leaving: bool) -> bool:
        """A sign of life; False when the others have counted this worker as gone."""
        state = (
            "draining" if leaving else "ready" if slots else "unfit" if post.reason else "starting"
        )
        values = {
            "slots": slots,
            "running": running,
            "state": state,
            "reason": post.reason[:MAX_REASON] or None,
            "seen_at": NOW,
        }
        mine = WorkerRow.number == post.number
        async with self._ledger.writing() as connection:
            seen = await connection.execute(sa.update(WorkerRow).where(mine).values(values))
        return bool(seen.rowcount)

    async def needed(self, post: Registration, *, lazy: bool, lost_after: float) -> bool:
        """Whether something waits in its queues that nobody has; if `lazy`, only if nobody else is
        there who would take it."""
        waiting = sa.select(Ticket.job_id).where(
            Ticket.queue.in_(post.queues), Ticket.worker.is_(None)
        )
        others = sa.select(WorkerRow.queues).where(
            WorkerRow.medium == post.medium,
            WorkerRow.number != post.number,
            WorkerRow.state == "ready",
            WorkerRow.seen_at > NOW - lost_after,
        )
        async with self._ledger.reading() as connection:
            if await connection.scalar(waiting.limit(1)) is None:
                return False
            there = await connection.scalars(others)
            return not (lazy and any(set(queues) & set(post.queues) for queues in there))

    async def leave(self) -> None:
        """Be gone in good order: what they held waits again."""
        for post in self:
            async with self._ledger.writing() as connection:
                await self._forget(connection, post.number)

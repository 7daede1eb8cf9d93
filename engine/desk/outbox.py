"""The debts of answers: what was accepted and is not known to have arrived.

A delivery is owed -> sending -> delivered, or lost. One found "sending" when a process starts was
broken off between the platform's yes and our note of it: it is delivered again, marked unsure, under
the same idempotency key; rather one answer twice than one lost.
"""

from dataclasses import dataclass

import sqlalchemy as sa

from engine.book import Book
from engine.desk.tables import MessageRow
from engine.tables import Delivery, JobRow, RequestRow

GIVE_UP_TRIES = 12
LONGEST_WAIT = 3600.0  # seconds between two tries
OPEN = ("owed", "sending", "unsure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """One debt; `unsure`: it may have arrived."""

    job: str
    platform: str
    address: str
    unsure: bool
    tries: int


class Outbox:
    """Writes and reads the deliveries."""

    def __init__(self, book: Book) -> None:
        self._book = book

    async def addressed(self, job: str, address: str) -> None:
        """Where to answer is known better now."""
        await self._set(job, address=address)

    async def sending(self, job: str) -> None:
        """It goes out now."""
        await self._set(job, state="sending")

    async def undelivered(self, job: str, seconds: float) -> bool:
        """It did not go out; try again in so many seconds. False when that was the last try."""
        async with self._book.writing() as connection:
            tries = await connection.scalar(
                sa.select(Delivery.tries).where(Delivery.job_id == job, Delivery.state.in_(OPEN))
            )
            if tries is None:
                return False
            state = "owed" if tries + 1 < GIVE_UP_TRIES else "lost"
            wait = max(seconds, min(LONGEST_WAIT, 15.0 * 2**tries))
            await connection.execute(
                sa.update(Delivery)
                .where(Delivery.job_id == job, Delivery.state.in_(OPEN))
                .values(state=state, tries=tries + 1, due_at=self._book.clock() + wait)
            )
        return state == "owed"

    async def lost(self, job: str) -> None:
        """There is nobody to show it to any more."""
        await self._set(job, state="lost", address=None)

    async def _set(self, job: str, **values: object) -> None:
        async with self._book.writing() as connection:
            await connection.execute(
                sa.update(Delivery)
                .where(Delivery.job_id == job, Delivery.state.in_(OPEN))
                .values(**values)
            )

    async def recover(self) -> int:
        """At a start: what was being sent when the last process ended is unsure; how many."""
        async with self._book.writing() as connection:
            done = await connection.execute(
                sa.update(Delivery).where(Delivery.state == "sending").values(state="unsure")
            )
        return int(done.rowcount)

    async def due(self, platform: str) -> list[Owed]:
        """The platform's debts that may be tried now, oldest first."""
        query = (
            sa.select(Delivery.job_id, Delivery.address, Delivery.state, Delivery.tries)
            .join(JobRow, JobRow.id == Delivery.job_id)
            .join(RequestRow, RequestRow.id == JobRow.request_id)
            .where(
                RequestRow.platform == platform,
                Delivery.state.in_(("owed", "unsure")),
                Delivery.address.is_not(None),
                sa.or_(Delivery.due_at.is_(None), Delivery.due_at <= self._book.clock()),
            )
            .order_by(Delivery.created_at)
        )
        async with self._book.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [
            Owed(
                job=row.job_id,
                platform=platform,
                address=row.address,
                unsure=row.state == "unsure",
                tries=row.tries,
            )
            for row in rows
        ]

    async def shown(self, platform: str, job: str, messages: tuple[str, ...]) -> None:
        """These messages ("chat:message") hold the answer."""
        now = self._book.clock()
        async with self._book.writing() as connection:
            for message in messages:
                lookup = self._lookup(platform, message)
                await connection.execute(sa.delete(MessageRow).where(MessageRow.lookup == lookup))
                row = {"lookup": lookup, "job_id": job, "at": now}
                await connection.execute(sa.insert(MessageRow).values(row))

    async def job_of(self, platform: str, message: str) -> str | None:
        """The answer that a message of ours holds."""
        query = sa.select(MessageRow.job_id).where(
            MessageRow.lookup == self._lookup(platform, message)
        )
        async with self._book.reading() as connection:
            return await connection.scalar(query)

    def _lookup(self, platform: str, message: str) -> str:
        return self._book.vault.lookup(f"{platform} message", message)

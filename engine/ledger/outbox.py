"""The debts of answers: what was accepted and is not known to have arrived.

A delivery is owed -> sending -> delivered, or lost. One that is still "sending" when its sender has
gone was broken off between the platform's yes and our note of it: it is delivered again, marked
unsure, under the same idempotency key; rather one answer twice than one lost.

A sender has gone when the next process starts on a SQLite ledger, which has one owner. On a server
several send at a time: there it has gone when it has not reported for SENDING_SECONDS. Each debt is in
one process's hands there: who follows the answer holds the debt by saying so again and again, and
another that wants to settle it claims it first. While a process sends, no other claims a debt in the
same place.
"""

import os
import socket
from collections.abc import Collection
from dataclasses import dataclass

import sqlalchemy as sa
from ulid import ULID

from engine.events import FINAL_STATES
from engine.ledger.chat_tables import MessageRow
from engine.ledger.erasure import blank_jobs, erase_private
from engine.ledger.tables import Delivery, JobRow, RequestRow
from engine.ledger.transactions import Database, lasting, put, repeated

GIVE_UP_TRIES = 32  # a day of them
LONGEST_WAIT = 3600.0  # seconds between two tries
SENDING_SECONDS = 300.0  # longer than any client tries to send an answer (LiveAnswer.try_seconds)
HOLD_SECONDS = 60.0  # a debt is in one process's hands for so long after it last said so
FRESH_SECONDS = 60.0  # what was just accepted is in the hands of who accepted it
WAITING = Delivery.state.in_(("owed", "unsure"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Debt:
    """An answer not known to have arrived; `unsure`: it was on its way when the process died."""

    job: str
    address: str
    unsure: bool = False


class Outbox:
    """Writes and reads the deliveries. `sender` names this process among all, for one life."""

    def __init__(self, database: Database, sender: str = "") -> None:
        self._database = database
        one_life = f"{socket.gethostname()[:12]}:{os.getpid()}:{str(ULID())[-16:]}"
        self.sender = sender or one_life

    @property
    def shared(self) -> bool:
        """Tell whether other processes send from it, too."""
        return self._database.dialect != "sqlite"

    @lasting
    async def _change(self, *which: sa.ColumnElement[bool], **values: object) -> int:
        change = sa.update(Delivery).where(*which).values(**values)
        async with self._database.writing(synced=False) as connection:
            return (await connection.execute(change)).rowcount

    async def _set(self, job: str, *also: sa.ColumnElement[bool], **values: object) -> bool:
        return await self._change(_open(job), *also, **values) > 0

    async def hold(self, jobs: Collection[str]) -> None:
        """Keep these debts in our hands for HOLD_SECONDS more."""
        if not (self.shared and jobs):
            return
        now = self._database.clock()
        ours = sa.or_(Delivery.sender == self.sender, _due(now))
        values = {"sender": self.sender, "due_at": now + HOLD_SECONDS}
        await self._change(Delivery.job_id.in_(jobs), WAITING, ours, **values)

    @lasting
    async def claim(self, job: str) -> bool:
        """Take a debt that is due into our hands; False when another process was faster."""
        if not self.shared:
            return True
        now = self._database.clock()
        claimed = sa.update(Delivery).where(Delivery.job_id == job, WAITING, _free(now))
        async with self._database.writing(synced=False) as connection:
            if await connection.scalar(_being_sent_beside(job, self.sender, now)):
                return False
            values = {"sender": self.sender, "due_at": now + HOLD_SECONDS}
            return (await connection.execute(claimed.values(values))).rowcount > 0

    async def let_go(self) -> None:
        """Give up, at a leave, what is in our hands and not on its way."""
        if self.shared:
            ours = Delivery.sender == self.sender
            await self._change(ours, WAITING, sender=None, due_at=self._database.clock())

    async def addressed(self, job: str, address: str) -> None:
        await self._set(job, address=address)

    async def sending(self, job: str) -> bool:
        """Note that it goes out, if it is owed; False when it has arrived, or another sends it."""
        now = self._database.clock()
        taken = sa.and_(
            Delivery.state == "sending", Delivery.sender != self.sender, Delivery.due_at > now
        )
        values = {"state": "sending", "sender": self.sender, "due_at": now + SENDING_SECONDS}
        settled = Delivery.job_id == job, Delivery.state.in_(("delivered", "sending"))
        noted = await self._set(job, ~sa.func.coalesce(taken, sa.false()), **values)
        return noted or await self._database.scalar(sa.select(Delivery.id).where(*settled)) is None

    @repeated
    async def undelivered(self, job: str, seconds: float) -> bool:
        """Try again in so many seconds; False when that was the last try, and a private request goes."""
        async with self._database.writing() as connection:
            query = sa.select(Delivery.tries).where(_open(job)).with_for_update()
            tries = await connection.scalar(query)
            if tries is None:
                return False
            state = "owed" if tries + 1 < GIVE_UP_TRIES else "lost"
            due_at = self._database.clock() + max(seconds, min(LONGEST_WAIT, 15.0 * 2**tries))
            values = {"state": state, "tries": tries + 1, "sender": None, "due_at": due_at}
            await connection.execute(sa.update(Delivery).where(_open(job)).values(values))
            if state == "lost":
                await erase_private(self._database, connection, [job])
        return state == "owed"

    async def lost(self, job: str) -> None:
        """Give up what can be shown to nobody; of a private request nothing stays."""
        if await self._set(job, state="lost", address=None):
            await self._let_go(job)

    @lasting
    async def _let_go(self, job: str) -> None:
        asked = sa.select(JobRow.state).join(RequestRow)
        async with self._database.writing() as connection:
            state = await connection.scalar(asked.where(JobRow.id == job, RequestRow.private))
            if state in FINAL_STATES:
                await erase_private(self._database, connection, [job])
            elif state is not None:  # the rest goes with retention, once it has ended
                await blank_jobs(self._database, connection, [job])

    async def recover(self, gone: Collection[str] = ()) -> int:
        """Mark as unsure what senders that are `gone`, or silent too long, were sending; how many."""
        over = sa.or_(_due(self._database.clock()), Delivery.sender.in_(gone))
        which = (over,) if self.shared else ()
        return await self._change(Delivery.state == "sending", *which, state="unsure", due_at=None)

    async def due(self, platform: str) -> list[Debt]:
        """Find the platform's debts that may be tried now, oldest first."""
        query = (
            sa.select(Delivery.job_id, Delivery.address, Delivery.state)
            .join(JobRow)
            .join(RequestRow)
            .where(
                RequestRow.platform == platform,
                WAITING,
                Delivery.address.is_not(None),
                _free(self._database.clock()) if self.shared else _due(self._database.clock()),
            )
            .order_by(Delivery.created_at)
        )
        return [
            Debt(job=job, address=address or "", unsure=state == "unsure")
            for job, address, state in await self._database.rows(query)
        ]

    @lasting
    async def shown(self, platform: str, job: str, messages: tuple[str, ...]) -> None:
        """Note that these messages ("chat:message") hold the answer."""
        now = self._database.clock()
        async with self._database.writing(synced=False) as connection:
            for message in messages:
                row = {"lookup": self._lookup(platform, message), "job_id": job, "at": now}
                await put(connection, MessageRow, ("lookup",), row)

    async def job_of(self, platform: str, message: str) -> str | None:
        lookup = self._lookup(platform, message)
        query = sa.select(MessageRow.job_id).where(MessageRow.lookup == lookup)
        return await self._database.scalar(query)

    def _lookup(self, platform: str, message: str) -> str:
        return self._database.vault.lookup(f"{platform} message", message)


def _open(job: str) -> sa.ColumnElement[bool]:
    return sa.and_(Delivery.job_id == job, Delivery.state.in_(("owed", "sending", "unsure")))


def _due(now: float) -> sa.ColumnElement[bool]:
    return sa.or_(Delivery.due_at.is_(None), Delivery.due_at <= now)


def _free(now: float) -> sa.ColumnElement[bool]:
    """Select what is due and in nobody's hands: neither held nor just accepted."""
    fresh = sa.and_(
        Delivery.state == "owed",
        Delivery.due_at.is_(None),
        Delivery.created_at > now - FRESH_SECONDS,
    )
    return sa.and_(_due(now), ~fresh)


def _being_sent_beside(job: str, sender: str, now: float) -> sa.Select[int]:
    """Count the answers that another process sends in the place of this one."""
    place = sa.select(RequestRow.place_lookup).join(JobRow).where(JobRow.id == job)
    return (
        sa.select(sa.func.count(Delivery.id))
        .join(JobRow)
        .join(RequestRow)
        .where(
            RequestRow.place_lookup == place.scalar_subquery(),
            Delivery.state == "sending",
            Delivery.sender != sender,
            Delivery.due_at > now,
        )
    )

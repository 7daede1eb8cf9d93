"""Forwards what workers say of their jobs: to the ledger, while they have the tickets; to subscribers.

All that the workers of a process said within FLUSH_SECONDS goes in one transaction, the newest event
of each job only: PostgreSQL commits notifications one transaction at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.events import Event, Final, Image, Loading, Started, Text, is_final
from engine.ledger.ledger import Ledger
from engine.ledger.transactions import put
from engine.plan.job import Job
from engine.queues.postgres.claims import UNSYNCED, Claims
from engine.queues.postgres.notifications import EVENT, event_note
from engine.queues.postgres.periodic import periodic
from engine.queues.postgres.tables import ProgressRow, Ticket
from engine.shutdown import end

FLUSH_SECONDS = 0.1
FAULT_SECONDS = 1.0  # after the ledger has refused
_NOTIFY = sa.text(
    "SELECT pg_notify(tickets.reply_to, notes.words) "
    "FROM unnest(CAST(:jobs AS varchar[]), CAST(:notes AS text[])) AS notes(job, words) "
    "JOIN tickets ON tickets.job_id = notes.job "
    "WHERE tickets.worker = ANY(:workers) AND tickets.reply_to IS NOT NULL"
)


@dataclass(frozen=True, slots=True)
class FencedRecord:
    """The dispatcher's Record. `number_of(job)` is the number that the job was claimed under; `begun` is
    called when its follower has heard that it was begun."""

    claims: Claims
    number_of: Callable[[str], int]
    begun: Callable[[str, int], None]

    async def started(self, job: str, attempt: int) -> None:
        words = event_note(Started(job=job, attempt=attempt), self.claims.ledger.vault)
        beside = self.claims.holding(self.number_of(job), job, words)
        await self.claims.ledger.started(job, attempt, beside)
        self.begun(job, attempt)

    def requeued(self, job: Job, deaths_alone: int) -> Awaitable[object]:
        beside = self.claims.holding(self.number_of(job.id), job.id)
        return self.claims.ledger.requeued(job, deaths_alone, beside)

    def finish(self, event: Final) -> Awaitable[bool]:
        beside = self.claims.settling(self.number_of(event.job), event)
        return self.claims.ledger.finish(event, beside)

    async def final(self, _job: str) -> Final | None:
        return None  # whoever follows reads it


@dataclass(slots=True, eq=False)
class ProgressRelay:
    """An inbox.Follower of every job that was claimed, which sends its progress on."""

    ledger: Ledger
    numbers: Callable[[], list[int]]
    _pending: dict[str, Loading | Text | Image] = field(default_factory=dict)
    _attempts: dict[str, int] = field(default_factory=dict)  # of jobs whose start was told
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = periodic("progress", self._flush, FAULT_SECONDS, self._news)

    async def close(self) -> bool:
        return await end(self._task)

    def put(self, event: Event) -> None:
        """Take the progress of a job; its start and its end go by FencedRecord."""
        if is_final(event):
            self.forget(event.job)
        elif isinstance(event, Loading | Text | Image):
            self._pending[event.job] = event
            self._news.set()

    def begun(self, job: str, attempt: int) -> None:
        """Send what it says from now on: not before, or it would come before its beginning."""
        self._attempts[job] = attempt
        self._news.set()

    def forget(self, job: str) -> None:
        self._pending.pop(job, None)
        self._attempts.pop(job, None)

    async def _flush(self) -> None:
        due = {
            job: event
            for job, event in self._pending.items()
            if isinstance(event, Loading) or event.attempt == self._attempts.get(job)
        }
        if not due:
            return
        for job in due:
            del self._pending[job]
        notes = {job: event_note(event, self.ledger.vault) for job, event in due.items()}
        async with self.ledger.writing() as connection:
            await connection.execute(sa.select(UNSYNCED))  # progress may be lost
            for job, event in due.items():
                if notes[job] is None:
                    await self._keep(connection, event)
            values = {
                "jobs": list(notes),
                "notes": [words or f"S {job}" for job, words in notes.items()],
                "workers": self.numbers(),
            }
            await connection.execute(_NOTIFY, values)
        await asyncio.sleep(FLUSH_SECONDS)

    async def _keep(self, connection: AsyncConnection, event: Loading | Text | Image) -> None:
        """Write down what is too long to travel, while one of these workers has the job's ticket."""
        ticket = sa.select(Ticket.job_id).where(Ticket.job_id == event.job).with_for_update()
        if await connection.scalar(ticket.where(Ticket.worker.in_(self.numbers()))) is not None:
            words = EVENT.dump_json(event).decode()
            row = {"job_id": event.job, "attempt": event.attempt, "event": words}
            await put(connection, ProgressRow, ("job_id",), row)

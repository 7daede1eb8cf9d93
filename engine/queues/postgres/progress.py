"""What a station says of its jobs: to the record, as long as it has their tickets; to who follows them.

All that its workers said within FLUSH_SECONDS goes in one transaction, the newest event of each job
only: PostgreSQL commits notifications one transaction at a time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

import sqlalchemy as sa

from engine.errors import LedgerError
from engine.events import Event, Final, Loading, Queued, Started, is_final
from engine.ledger.ledger import Ledger
from engine.plan.job import Job
from engine.queues.postgres.claims import Claims
from engine.queues.postgres.notifications import EVENT, event_note, see_note
from engine.queues.postgres.tables import ProgressRow, Ticket
from engine.shutdown import end, wanted

FLUSH_SECONDS = 0.1
_UNSYNCED = sa.text("SET LOCAL synchronous_commit = off")  # progress may be lost
_NOTIFY = sa.text(
    "SELECT pg_notify(tickets.reply_to, notes.words) "
    "FROM unnest(CAST(:jobs AS varchar[]), CAST(:notes AS text[])) AS notes(job, words) "
    "JOIN tickets ON tickets.job_id = notes.job "
    "WHERE tickets.worker = ANY(:workers) AND tickets.reply_to IS NOT NULL"
)

log = logging.getLogger(__name__)


class FencedRecord:
    """The floor's record. `number_of(job)` is the number that the job was claimed under; `begun(job,
    attempt)` is told when its follower has heard that it was begun."""

    def __init__(
        self,
        tickets: Claims,
        number_of: Callable[[str], int],
        begun: Callable[[str, int], None],
    ) -> None:
        self._tickets = tickets
        self._ledger = tickets.ledger
        self._number_of = number_of
        self._begun = begun

    async def started(self, job: str, attempt: int) -> None:
        """See floor.Record; the follower hears of it at once."""
        words = event_note(Started(job=job, attempt=attempt), self._ledger.vault)
        beside = self._tickets.holding(self._number_of(job), job, words)
        await self._ledger.started(job, attempt, beside)
        self._begun(job, attempt)

    def requeued(self, job: Job, deaths_alone: int) -> Awaitable[object]:
        """See floor.Record."""
        beside = self._tickets.holding(self._number_of(job.id), job.id)
        return self._ledger.requeued(job, deaths_alone, beside)

    def finish(self, event: Final) -> Awaitable[bool]:
        """See floor.Record."""
        beside = self._tickets.settling(self._number_of(event.job), event)
        return self._ledger.finish(event, beside)

    async def final(self, _job: str) -> Final | None:
        """Whoever follows reads it themselves."""
        return None


class ProgressRelay:
    """Sends progress on. It is a line.Follower of every job."""

    def __init__(self, ledger: Ledger, numbers: Callable[[], list[int]]) -> None:
        self._ledger = ledger
        self._numbers = numbers
        self._pending: dict[str, Event] = {}
        self._attempts: dict[str, int] = {}  # of jobs whose followers know that they were begun
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._flush_now_and_then(), name="relay")

    async def close(self) -> bool:
        """End, False if it does not; what was not sent is lost."""
        return await end(self._task)

    def put(self, event: Event) -> None:
        """Progress of a job; its start and its end go another way (FencedRecord)."""
        if is_final(event):
            self.forget(event.job)
        elif not isinstance(event, Queued | Started):
            self._pending[event.job] = event
            self._news.set()

    def begun(self, job: str, attempt: int) -> None:
        """What it says from now on may be sent: not before, or it would come before its beginning."""
        self._attempts[job] = attempt
        self._news.set()

    def forget(self, job: str) -> None:
        """It is over, or another station's."""
        self._pending.pop(job, None)
        self._attempts.pop(job, None)

    def _due(self) -> dict[str, Event]:
        """What may be sent now, taken out."""
        due: dict[str, Event] = {
            job: event
            for job, event in self._pending.items()
            if isinstance(event, Loading)
            or (not isinstance(event, Queued) and event.attempt == self._attempts.get(job))
        }
        for job in due:
            del self._pending[job]
        return due

    async def _flush_now_and_then(self) -> None:
        while wanted():
            await self._news.wait()
            self._news.clear()
            if events := self._due():
                try:
                    await self._send(events)
                except LedgerError as error:
                    log.warning("progress was lost", extra={"why": str(error)})
            await asyncio.sleep(FLUSH_SECONDS)

    async def _send(self, events: dict[str, Event]) -> None:
        notes = {job: event_note(event, self._ledger.vault) for job, event in events.items()}
        async with self._ledger.writing() as connection:
            await connection.execute(_UNSYNCED)
            for job, event in events.items():
                if notes[job] is None and not isinstance(event, Queued):
                    words = EVENT.dump_json(event).decode()
                    held = await connection.scalar(
                        sa.select(Ticket.job_id)
                        .where(Ticket.job_id == job, Ticket.worker.in_(self._numbers()))
                        .with_for_update()
                    )
                    if held is None:
                        continue
                    await connection.execute(
                        sa.delete(ProgressRow).where(ProgressRow.job_id == job)
                    )
                    row = {"job_id": job, "attempt": event.attempt, "event": words}
                    await connection.execute(sa.insert(ProgressRow).values(row))
            values = {
                "jobs": list(notes),
                "notes": [words or see_note(job) for job, words in notes.items()],
                "workers": self._numbers(),
            }
            await connection.execute(_NOTIFY, values)

"""The jobs that a process follows: notifications from workers in, events to whoever follows out.

Progress is lossy: what a worker says while nobody can hear it is gone. The final answer is not: it is
read from the ledger when its note comes, when the connection was lost, and every so often anyway.
"""

import asyncio
import logging
from dataclasses import dataclass, field

import sqlalchemy as sa

from engine.errors import KIND_SENTENCE, LedgerError
from engine.events import FINAL_STATES, Event, Failed, Final, Queued, Started
from engine.ledger.ledger import Ledger, new_id
from engine.ledger.tables import JobRow
from engine.ledger.transactions import chunks
from engine.queues.inbox import Inbox
from engine.queues.postgres.notifications import EVENT, Listener, read_event
from engine.queues.postgres.periodic import periodic
from engine.queues.postgres.tables import ProgressRow
from engine.shutdown import end, pause, spawn

LOOK_SECONDS = 2.0  # how often the ledger is asked whether anything followed is over

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Subscription:
    """A job that is followed here. `said` is what a newcomer has missed: that it has begun, and the
    newest since. `place` was last told to its followers; if `accepted` it has, or had, its row."""

    followers: set[Inbox] = field(default_factory=set)
    said: tuple[Event, ...] = ()
    attempt: int = 0
    place: int = -1
    accepted: bool = False

    def tell(self, event: Event) -> None:
        if not isinstance(event, Queued):
            if event.attempt < self.attempt:
                return
            begun = [e for e in self.said if isinstance(e, Started) and e.attempt == event.attempt]
            self.attempt, self.said = event.attempt, (*begun, event)
        for follower in self.followers:
            follower.put(event)


class Subscriptions:
    def __init__(self, ledger: Ledger, url: sa.URL) -> None:
        self.channel = f"pastiche_p_{new_id().lower()}"
        self.jobs: dict[str, Subscription] = {}
        self._ledger = ledger
        self._listener = Listener(url, (self.channel,), self._heard, self.look)
        self._reading: set[asyncio.Task[None]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._look = asyncio.Event()

    async def start(self) -> None:
        self._listener.start()
        await pause(self._look, LOOK_SECONDS)  # what is said before it hears is lost to it
        self._looking = periodic("followed jobs", self._look_for_ends, LOOK_SECONDS, self._look)

    async def close(self) -> None:
        await asyncio.gather(self._listener.close(), end(*self._reading, self._looking))

    def subscribe(self, job: str) -> Subscription:
        return self.jobs.setdefault(job, Subscription())

    def leave(self, job: str, inbox: Inbox | None = None) -> None:
        if subscription := self.jobs.get(job):
            subscription.followers -= {inbox}
            if not subscription.followers:
                del self.jobs[job]

    def look(self) -> None:
        self._look.set()

    def _heard(self, _channel: str, words: str) -> None:
        kind, job = words[:1], words[2:]
        if kind == "E":
            event = read_event(words, self._ledger.vault)
            if event is not None and event.job in self.jobs:
                self.jobs[event.job].tell(event)
        elif job in self.jobs:
            spawn(self._reading, self._end(job) if kind == "F" else self._see(job))

    async def _end(self, job: str) -> None:
        try:
            final = await self._ledger.final(job)
        except LedgerError:
            log.exception("a final answer cannot be read yet", extra={"job": job})
            return
        if final is not None:
            self._over(job, final)

    def _over(self, job: str, final: Final) -> None:
        if subscription := self.jobs.get(job):
            subscription.attempt = final.attempt
            subscription.tell(final)
            self.leave(job)

    async def _see(self, job: str) -> None:
        query = sa.select(ProgressRow.event).where(ProgressRow.job_id == job)
        try:
            words = await self._ledger.scalar(query)
        except LedgerError:
            return
        subscription = self.jobs.get(job)
        if words is not None and subscription is not None:
            subscription.tell(EVENT.validate_json(words))

    async def _look_for_ends(self) -> None:
        for chunk in chunks(list(self.jobs)):
            jobs = [job for job in chunk if job in self.jobs]
            there = {job for job in jobs if self.jobs[job].followers or self.jobs[job].accepted}
            query = sa.select(JobRow.id, JobRow.state).where(JobRow.id.in_(jobs))
            states = {row.id: row.state for row in await self._ledger.rows(query)}
            for job, state in states.items():
                if state in FINAL_STATES:
                    await self._end(job)
            why = "its row was deleted"
            for job in there - states.keys():
                self._over(job, Failed(job=job, attempt=1, message=KIND_SENTENCE, reason=why))

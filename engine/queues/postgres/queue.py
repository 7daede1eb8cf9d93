"""The queue on PostgreSQL, shared by many bots and many workers: the side that asks.

A job is accepted in one transaction: the ledger's rows and its ticket (`claims`). Its workers are on
this machine or on others (`worker_host`); what they say comes by NOTIFY (`subscriptions`). Nothing is
kept in memory here that the next process could not find in the database.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from functools import partial

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import KIND_SENTENCE, BusyError, LedgerError
from engine.events import UNSERVED, Cancelled, Event, Failed, Final, Loading, Queued, is_final
from engine.ledger.ledger import Ledger
from engine.ledger.storage import database_url
from engine.ledger.tables import JobRow
from engine.ledger.transactions import lasting
from engine.overview import TAKEN_OUT, Overview
from engine.plan.job import Job, Request, Status
from engine.plan.route import Route
from engine.queues.dispatcher import LOADING, nobody
from engine.queues.inbox import Inbox
from engine.queues.job_admin import JobAdmin
from engine.queues.postgres.claims import Claims
from engine.queues.postgres.maintenance import move_stranded
from engine.queues.postgres.notifications import notify, worker_host_channel
from engine.queues.postgres.periodic import periodic
from engine.queues.postgres.position import Position, Positions
from engine.queues.postgres.subscriptions import Subscriptions
from engine.queues.postgres.tables import Ticket, WorkerRow
from engine.settings import Settings
from engine.shutdown import end, spawn
from engine.workers.fingerprint import ServingFingerprint

POSITION_SECONDS = 1.0  # how often those who wait are told where they stand
MOVE_SECONDS = 30.0  # how often jobs are looked for that only left workers could serve
ACCEPT_SECONDS = 1.0  # that what is being accepted has to be so when the process leaves

log = logging.getLogger(__name__)


class PostgresQueue:
    def __init__(
        self,
        settings: Settings,
        fingerprint: ServingFingerprint,
        ledger: Ledger,
        need_worker: Callable[[str], None] = nobody,
    ) -> None:
        self._ledger = ledger
        self._fingerprint = fingerprint
        self._max_waiting = settings.max_waiting
        self._need_worker = need_worker
        self._claims = Claims(ledger)
        self._positions = Positions(ledger, fingerprint, settings.lost_after)
        self._admin = JobAdmin(ledger)
        self._move_stranded = partial(move_stranded, ledger, fingerprint, settings.lost_after)
        self._subscriptions = Subscriptions(ledger, database_url(settings))
        self._accepting: set[asyncio.Task[None]] = set()
        self._chores: list[asyncio.Task[None]] = []
        self._told: set[str] = set()

    async def start(self) -> None:
        await self._subscriptions.start()
        self._chores = [
            periodic("positions", self._tell_positions, POSITION_SECONDS),
            periodic("stranded jobs", self._move_stranded, MOVE_SECONDS),
        ]

    async def close(self) -> None:
        await end(*self._accepting, grace=ACCEPT_SECONDS)
        await asyncio.gather(end(*self._chores), self._subscriptions.close())

    @property
    def followed(self) -> int:
        return len(self._subscriptions.jobs)

    async def accept(self, request: Request, route: Route, job: Job) -> None:
        """Commit; raises BusyError or LedgerError, and then nothing was accepted."""
        queue = self._fingerprint.queues[job.expert]
        await asyncio.shield(spawn(self._accepting, self._accept(request, route, job, queue)))

    async def _accept(self, request: Request, route: Route, job: Job, queue: str) -> None:
        asker = self._ledger.person(request.platform, request.asker)

        async def beside(connection: AsyncConnection) -> bool:
            waiting = await connection.scalar(sa.select(sa.func.count(Ticket.job_id))) or 0
            if waiting >= self._max_waiting:
                raise BusyError(
                    f"{waiting} requests are waiting already. Please try again in a few minutes."
                )
            await self._claims.issue(connection, job.id, asker, queue, self._subscriptions.channel)
            return True

        subscription = self._subscriptions.subscribe(job.id)  # before it begins: nothing is missed
        try:
            await self._ledger.accept(request, route, job, beside)
        except BaseException:
            self._subscriptions.leave(job.id)  # it has no end to be looked for
            raise
        subscription.accepted = True

    async def follow(self, job: str) -> AsyncGenerator[Event]:
        inbox = Inbox()
        subscription = self._subscriptions.subscribe(job)
        said = subscription.said  # what is said from now on comes to the inbox
        subscription.followers.add(inbox)
        try:
            position = (await self._positions.of([job])).get(job)
            if position is None and (final := await self._ledger.final(job)) is not None:
                yield final
                return
            if position is not None and position.reply_to != self._subscriptions.channel:
                ticket = sa.update(Ticket).where(Ticket.job_id == job)
                await self._ledger.change(ticket.values(reply_to=self._subscriptions.channel))
                self._subscriptions.look()  # its end may have come in between
            for event in await self._so_far(job, position):
                yield event
            for event in said:
                yield event
                if is_final(event):
                    return
            async for event in inbox:
                yield event
        finally:
            self._subscriptions.leave(job, inbox)

    async def _so_far(self, job: str, position: Position | None) -> list[Event]:
        """Tell a newcomer the job's position, and whether anybody is there to serve it."""
        if position is None:
            return [Queued(job=job, position=0)]
        self._subscriptions.subscribe(job).place = position.queued.position
        if position.slots:
            return [position.queued]
        self._need_worker(position.queue.partition(".")[0])  # nobody else is ready
        if not position.starting and position.queue not in self._told:
            self._told.add(position.queue)
            hint = await self._positions.hint(position.queue)
            log.warning("nobody serves a queue", extra={"queue": position.queue, "hint": hint})
        what = LOADING if position.starting else UNSERVED
        return [position.queued, Loading(job=job, attempt=0, what=what)]

    async def _tell_positions(self) -> None:
        jobs = self._subscriptions.jobs
        waiting = [job for job, one in jobs.items() if one.followers and not one.said]
        for job, position in (await self._positions.of(waiting) if waiting else {}).items():
            queued, one = position.queued, jobs.get(job)
            if one is not None and not one.said and one.place != queued.position:
                one.place = queued.position
                one.tell(queued)

    async def cancel(self, job: str) -> bool:
        """End it at once while it waits; tell its worker while it runs. False: it is over."""
        for _ in range(3):  # it may begin, or be handed back, in between
            if (attempt := await self._attempt(job)) is None:
                return False
            cancelled = Cancelled(job=job, attempt=attempt)
            if await self._end(cancelled, Ticket.worker.is_(None)) or await self._ask_to_stop(job):
                return True
        return False

    async def status(self) -> Status:
        return await self._admin.status(await self._positions.workers())

    async def overview(self) -> Overview:
        unserved = await self._positions.unserved()
        return await self._admin.overview("postgres", await self._positions.workers(), unserved)

    async def retry(self, job: str) -> bool:
        async def beside(connection: AsyncConnection, revived: str) -> None:
            if await self._claims.issue_anew(connection, revived, self._fingerprint.queues) is None:
                raise LedgerError("The job's expert is not among the cards here.")

        return await self._stuck(job) or await self._admin.revive(job, beside)

    async def drop(self, job: str) -> bool:
        """End it, whoever has it: the worker that has it finds its ticket gone."""
        for _ in range(3):  # as in `cancel`
            if (attempt := await self._attempt(job)) is None:
                break
            failed = Failed(job=job, attempt=attempt, message=KIND_SENTENCE, reason=TAKEN_OUT)
            if await self._end(failed, sa.true()):
                return True
        return await self._admin.bury(job)

    async def _stuck(self, job: str) -> bool:
        async with self._ledger.writing() as connection:
            await self._tell_worker(connection, job)
            claimed = sa.and_(Ticket.job_id == job, Ticket.worker.is_not(None))
            return bool(await self._claims.release(connection, claimed))

    async def _attempt(self, job: str) -> int | None:
        query = sa.select(JobRow.attempt).join(Ticket, Ticket.job_id == JobRow.id)
        return await self._ledger.scalar(query.where(JobRow.id == job))

    async def _end(self, event: Final, if_: sa.ColumnElement[bool]) -> bool:
        async def beside(connection: AsyncConnection) -> bool:
            await self._tell_worker(connection, event.job)
            return await self._claims.remove(connection, event, if_)

        return await self._ledger.finish(event, beside)

    @lasting
    async def _ask_to_stop(self, job: str) -> bool:
        claimed = sa.update(Ticket).where(Ticket.job_id == job, Ticket.worker.is_not(None))
        async with self._ledger.writing() as connection:
            await connection.execute(claimed.values(cancelled=True))
            return await self._tell_worker(connection, job)

    async def _tell_worker(self, connection: AsyncConnection, job: str) -> bool:
        """Lock the ticket, and have the process whose worker has it look; False if none has it."""
        mine = sa.select(WorkerRow.worker_host).select_from(Ticket).where(Ticket.job_id == job)
        theirs = mine.outerjoin(WorkerRow, Ticket.worker == WorkerRow.number)
        worker_host = await connection.scalar(theirs.with_for_update(of=Ticket))
        if worker_host is not None:
            await notify(connection, worker_host_channel(worker_host), "look")
        return worker_host is not None

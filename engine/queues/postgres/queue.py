"""The queue on PostgreSQL, shared by many bots and many workers: the side that asks.

A job is accepted in one transaction: the ledger's rows, its ticket (queues.postgres.claims), and its row in
Procrastinate's table, whose only argument is the job's id. Workers are stations (queues.postgres.worker_host), on
this machine or on others; what they say comes by NOTIFY (queues.postgres.subscriptions). Nothing here is kept in memory
that the next process could not find in the database.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import BusyError, LedgerError
from engine.events import UNSERVED, Event, Loading, Queued, is_final
from engine.ledger.ledger import Ledger
from engine.ledger.tables import JobRow
from engine.overview import TAKEN_OUT, Overview
from engine.plan.job import Job, Request, Status, Waiting
from engine.plan.router import Route
from engine.queues.census import Census
from engine.queues.dispatcher import nobody
from engine.queues.inbox import Inbox
from engine.queues.postgres.cancellation import Cancellation
from engine.queues.postgres.claims import Claims
from engine.queues.postgres.maintenance import Moving
from engine.queues.postgres.periodic import periodic
from engine.queues.postgres.position import Position, Positions
from engine.queues.postgres.subscriptions import Subscriptions
from engine.queues.postgres.tables import Ticket
from engine.shutdown import end
from engine.workers.fingerprint import ServingFingerprint

PLACES_SECONDS = 1.0  # how often those who wait are told where they stand
MOVE_SECONDS = 30.0  # how often jobs are looked for that only left workers could serve
ACCEPT_SECONDS = 1.0  # that what is being accepted has to be so when the process leaves
LOADING = "getting the model ready"

log = logging.getLogger(__name__)


class PostgresQueue:
    """See jobs.JobQueue and the module's own words."""

    def __init__(
        self,
        ledger: Ledger,
        url: sa.URL,
        kit: ServingFingerprint,
        *,
        max_waiting: int,
        lost_after: float,
        refuse_unserved: bool = False,
        need_worker: Callable[[str], None] = nobody,
    ) -> None:
        self._ledger = ledger
        self._kit = kit
        self._max_waiting = max_waiting
        self._refuse_unserved = refuse_unserved
        self._need_worker = need_worker
        self._tickets = Claims(ledger)
        self._stopping = Cancellation(self._tickets)
        self._places = Positions(ledger, lost_after)
        self._census = Census(ledger)
        self._moving = Moving(ledger, kit, lost_after)
        self._hub = Subscriptions(ledger, url)
        self._accepting: set[asyncio.Task[None]] = set()
        self._chores: list[asyncio.Task[None]] = []
        self._told: set[str] = set()

    async def start(self) -> None:
        """Begin to listen."""
        self._hub.start()
        self._chores = [
            periodic("positions", self._tell_places, PLACES_SECONDS),
            periodic("stranded jobs", self._moving.run, MOVE_SECONDS),
        ]

    async def close(self) -> None:
        """Finish what is being accepted; everything else is in the database."""
        await end(*self._accepting, grace=ACCEPT_SECONDS)
        await asyncio.gather(end(*self._chores), self._hub.close())

    @property
    def followed(self) -> int:
        """The jobs whose events are heard here."""
        return len(self._hub.watches)

    async def accept(self, request: Request, route: Route, job: Job) -> None:
        """See JobQueue. Raises BusyError or LedgerError, and then nothing was accepted."""
        queue = self._kit.queues[job.expert]
        if self._refuse_unserved:
            serving = await self._places.serving(queue)
            if not serving.slots and not serving.starting:
                await self._warn(queue)
                raise BusyError("Nobody can do this right now. Please try again later.")
        task = asyncio.create_task(self._accept(request, route, job, queue))
        self._accepting.add(task)
        task.add_done_callback(self._accepting.discard)
        await asyncio.shield(task)

    async def _accept(self, request: Request, route: Route, job: Job, queue: str) -> None:
        asker = self._ledger.person(request.platform, request.asker)

        async def beside(connection: AsyncConnection) -> bool:
            waiting = await self._tickets.waiting(connection)
            if waiting >= self._max_waiting:
                raise BusyError(
                    f"{waiting} requests are waiting already. Please try again in a few minutes."
                )
            await self._tickets.issue(connection, job.id, asker, queue, self._hub.channel)
            return True

        self._hub.watch(job.id)  # before it can begin, so that nothing is missed
        try:
            await self._ledger.accept(request, route, job, beside)
        except BaseException:
            self._hub.refused(job.id)
            raise
        self._hub.accepted(job.id)

    async def follow(self, job: str) -> AsyncGenerator[Event]:
        """Events from here on; a job that is over already gives its final event from the ledger."""
        inbox = Inbox()
        watch = self._hub.watch(job)
        said = watch.said  # what is said from now on comes to the inbox
        watch.followers.add(inbox)
        try:
            standing = (await self._places.of([job])).get(job)
            if standing is None and (final := await self._ledger.final(job)) is not None:
                yield final
                return
            if standing is not None and standing.reply_to != self._hub.channel:
                await self._listen_to(job)
            for event in await self._so_far(job, standing):
                yield event
            for event in said:
                yield event
                if is_final(event):
                    return
            async for event in inbox.to_the_end():
                yield event
        finally:
            self._hub.leave(job, inbox)

    async def _listen_to(self, job: str) -> None:
        """Have the job's events sent here from now on."""
        async with self._ledger.writing() as connection:
            await connection.execute(
                sa.update(Ticket).where(Ticket.job_id == job).values(reply_to=self._hub.channel)
            )
        self._hub.look()  # its end may have come in between

    async def _so_far(self, job: str, standing: Position | None) -> list[Event]:
        """What a newcomer must know: its place, and whether anybody is there to serve it."""
        if standing is None:
            return [Queued(job=job, position=0)]
        self._hub.watch(job).place = standing.queued.position
        if standing.serving.slots:
            return [standing.queued]
        self._need_worker(standing.queue.partition(".")[0])  # nobody else is ready
        if not standing.serving.starting:
            await self._warn(standing.queue)
        what = LOADING if standing.serving.starting else UNSERVED
        return [standing.queued, Loading(job=job, attempt=0, what=what)]

    async def _warn(self, queue: str) -> None:
        """Tell the operator, once for each queue, why nobody serves it."""
        if queue not in self._told:
            self._told.add(queue)
            hint = await self._places.hint(queue, self._kit)
            log.warning("nobody serves a queue", extra={"queue": queue, "hint": hint})

    async def _tell_places(self) -> None:
        """Tell everybody who waits here where they stand, when that has changed."""
        waiting = [j for j, w in self._hub.watches.items() if w.followers and not w.said]
        for job, standing in (await self._places.of(waiting) if waiting else {}).items():
            queued = standing.queued
            watch = self._hub.watches.get(job)
            if watch is not None and not watch.said and watch.place != queued.position:
                watch.place = queued.position
                watch.tell(queued)

    async def cancel(self, job: str) -> bool:
        """Over at once while it waits, stopped at the next token while it runs."""
        return await self._stopping.cancel(job)

    async def status(self) -> Status:
        """Everything unfinished, oldest first."""
        query = (
            sa.select(JobRow.id, JobRow.medium, JobRow.expert, JobRow.accepted_at, Ticket.worker)
            .join(Ticket, Ticket.job_id == JobRow.id)
            .order_by(JobRow.accepted_at, JobRow.id)
        )
        now = self._ledger.clock()
        async with self._ledger.reading() as connection:
            rows = (await connection.execute(query)).all()
        waiting = tuple(
            Waiting(
                job=row.id,
                medium=row.medium,
                expert=row.expert,
                state="queued" if row.worker is None else "running",
                seconds=max(0.0, now - row.accepted_at),
            )
            for row in rows
        )
        states: dict[str, str] = {}
        for worker in await self._places.workers():
            if states.get(worker.medium) != "ready":
                states[worker.medium] = worker.state
        return Status(owner=os.getpid(), waiting=waiting, workers=states)

    async def overview(self) -> Overview:
        """For the operator: queues.overview."""
        workers = tuple(await self._places.workers())
        return await self._census.overview(
            "postgres", workers, await self._places.unserved(self._kit)
        )

    async def retry(self, job: str) -> bool:
        """A dead, failed or stuck job is queued again; see queues.overview."""

        async def beside(connection: AsyncConnection, revived: str) -> None:
            asker, expert = await self._tickets.asker_of(connection, revived)
            queue = self._kit.queues.get(expert)
            if queue is None:
                raise LedgerError(f"The job's expert {expert!r} is not among the cards here.")
            await self._tickets.issue(connection, revived, asker, queue, None)

        return await self._stopping.stuck(job) or await self._census.revive(job, beside)

    async def drop(self, job: str) -> bool:
        """It is over now; see queues.overview."""
        return await self._stopping.drop(job, TAKEN_OUT) or await self._census.bury(job)

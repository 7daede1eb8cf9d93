"""Looking after the Postgres queue: the jobs of dead workers, jobs without a ticket, and those that
have waited long. A task on Procrastinate's own worker and a queue of its own, one at a time.

Everything is judged by the database's clock.
"""

import asyncio
import logging
import random
from contextlib import suppress

import procrastinate
import psycopg
import sqlalchemy as sa
from procrastinate import exceptions

from engine.errors import LedgerError
from engine.events import FINAL_STATES
from engine.ledger.ledger import Ledger
from engine.ledger.postgres_connection import Limited
from engine.ledger.tables import JobRow
from engine.queues.postgres.claims import FIRST, NOW, Claims
from engine.queues.postgres.claims import TASK as RUN
from engine.queues.postgres.notifications import connect_arguments
from engine.queues.postgres.tables import ProgressRow, Ticket, WorkerRow
from engine.shutdown import end, wanted
from engine.workers.fingerprint import ServingFingerprint

QUEUE, TASK = "maint", "pastiche.rescue"
RUNS = 3  # within the time after which a silent worker counts as gone
TURN_SECONDS = 30.0  # so long a wait counts as much as one turn of everybody else
RESTART_SECONDS = 2.0
HEALED = 100  # jobs without a ticket that get one in one run
LOCK = 0x50617374_72657363  # one rescue at a time, should two be deferred

_AGE = sa.text(
    "UPDATE procrastinate_jobs AS waiting SET priority = aged.priority FROM ("
    "SELECT job.id, age.turns - tickets.turn AS priority FROM procrastinate_jobs AS job "
    "JOIN tickets ON tickets.number = job.id, LATERAL (SELECT CAST(floor(("
    "extract(epoch FROM clock_timestamp()) - tickets.created_at) / :turn) AS int) AS turns) AS age "
    "WHERE tickets.worker IS NULL AND job.status = 'todo' AND job.priority < :first "
    "AND job.priority < age.turns - tickets.turn FOR UPDATE OF job SKIP LOCKED"
    ") AS aged WHERE waiting.id = aged.id"
)
_LOCK = sa.text("SELECT pg_try_advisory_xact_lock(:lock)")
# Left by a job's row that was deleted, and by maintenance that died in the middle.
_STRAYS = sa.text(
    "DELETE FROM procrastinate_jobs AS stray WHERE (task_name = :run AND NOT EXISTS "
    "(SELECT 1 FROM tickets WHERE number = stray.id)) OR (task_name = :rescue AND status = 'doing' "
    "AND NOT EXISTS (SELECT 1 FROM procrastinate_workers WHERE id = stray.worker_id))"
)
_PRUNE = sa.text("SELECT count(*) FROM procrastinate_prune_stalled_workers_v1(:seconds)")
_UNREGISTER = sa.text("SELECT procrastinate_unregister_worker_v1(:number)")

log = logging.getLogger(__name__)


class Maintenance:
    """See the module's own words. `lost_after`: seconds until a silent worker is gone."""

    def __init__(
        self, ledger: Ledger, url: sa.URL, kit: ServingFingerprint, lost_after: float
    ) -> None:
        self._ledger = ledger
        self._tickets = Claims(ledger)
        self._kit = kit
        self._lost_after = lost_after
        self._due = 0.0
        self._told: set[str] = set()
        self._task: asyncio.Task[None] | None = None
        connector = procrastinate.PsycopgConnector(
            conninfo="",
            kwargs=connect_arguments(url),
            connection_class=Limited,
            min_size=1,
            max_size=2,
        )
        self._app = procrastinate.App(connector=connector)
        self._app.task(name=TASK, queue=QUEUE, queueing_lock=TASK)(self.run)

    async def start(self) -> None:
        """Begin to take the task."""
        self._task = asyncio.create_task(self._work(), name="rescue")

    async def close(self) -> bool:
        """End; False if it does not."""
        return await end(self._task)

    async def _work(self) -> None:
        """Procrastinate's worker, again whenever it ends: it does when the server is gone."""
        while wanted():
            try:
                async with self._app.open_async():
                    await self._app.run_worker_async(
                        queues=[QUEUE],
                        name=QUEUE,
                        delete_jobs="always",
                        install_signal_handlers=False,
                        update_heartbeat_interval=self._lost_after / RUNS,
                        stalled_worker_timeout=4 * self._lost_after,
                        shutdown_graceful_timeout=1.0,
                    )
            except (exceptions.ProcrastinateException, psycopg.Error, OSError) as error:
                log.warning("maintenance was interrupted", extra={"why": type(error).__name__})
            await asyncio.sleep(RESTART_SECONDS)

    async def now_and_then(self) -> None:
        """Ask for a run when it is time; of many stations one does so on average."""
        now = asyncio.get_running_loop().time()
        if now < self._due:
            return
        self._due = now + self._lost_after / RUNS
        async with self._ledger.reading() as connection:
            query = sa.select(sa.func.count(sa.distinct(WorkerRow.station)))
            stations = int(await connection.scalar(query) or 1)
        if random.random() * stations > 1:
            return
        with suppress(exceptions.AlreadyEnqueued, exceptions.ProcrastinateException):
            await self._app.configure_task(TASK).defer_async()

    async def run(self) -> None:
        """Once over everything."""
        parts = (
            self._free, self._without_ticket, self._aged, self._clear_away, self._passed_by,
        )  # fmt: skip
        for part in parts:
            try:
                await part()
            except LedgerError as error:
                log.warning("maintenance was interrupted", extra={"why": str(error)})

    async def _free(self) -> None:
        """What silent workers had waits again; nobody is blamed.

        Rows that somebody holds are left for the next run: a machine that was cut off in the middle
        of a transaction holds them until the server notices, and must not keep all others waiting.
        """
        silent = sa.select(WorkerRow.number).where(WorkerRow.seen_at < NOW - self._lost_after)
        lost = (
            sa.select(Ticket.job_id)
            .where(Ticket.worker.is_not(None))
            .where(Ticket.worker.in_(silent) | Ticket.worker.not_in(sa.select(WorkerRow.number)))
            .with_for_update(skip_locked=True)
        )
        async with self._ledger.writing() as connection:
            if not await connection.scalar(_LOCK, {"lock": LOCK}):
                return
            jobs = list(await connection.scalars(lost))
            if jobs:
                await self._tickets.release(connection, Ticket.worker.is_not(None), jobs)
                log.warning("jobs of silent workers wait again", extra={"jobs": len(jobs)})

    async def _clear_away(self) -> None:
        """Rows of workers that are gone, and what died or was forgotten left behind."""
        async with self._ledger.writing() as connection:
            silent = sa.select(WorkerRow.number).where(WorkerRow.seen_at < NOW - self._lost_after)
            gone = list(await connection.scalars(silent.with_for_update(skip_locked=True)))
            await connection.execute(sa.delete(WorkerRow).where(WorkerRow.number.in_(gone)))
            for number in gone:
                await connection.execute(_UNREGISTER, {"number": number})
            await connection.execute(_PRUNE, {"seconds": 4 * self._lost_after})
            await connection.execute(_STRAYS, {"run": RUN, "rescue": TASK})
            over = sa.select(JobRow.id).where(JobRow.state.in_(FINAL_STATES))
            await connection.execute(sa.delete(ProgressRow).where(ProgressRow.job_id.in_(over)))
        if gone:
            log.warning("workers are gone", extra={"workers": len(gone)})

    async def _without_ticket(self) -> None:
        """A job of the record that is in no queue (a restored backup) gets its ticket."""
        query = (
            sa.select(JobRow.id)
            .join(Ticket, Ticket.job_id == JobRow.id, isouter=True)
            .where(JobRow.state.not_in(FINAL_STATES), Ticket.job_id.is_(None))
            .order_by(JobRow.id)
            .limit(HEALED)
        )
        async with self._ledger.reading() as connection:
            jobs = list(await connection.scalars(query))
        for job in jobs:
            async with self._ledger.writing() as connection:
                locked = sa.select(JobRow.id).where(
                    JobRow.id == job, JobRow.state.not_in(FINAL_STATES)
                )
                if await connection.scalar(locked.with_for_update(skip_locked=True)) is None:
                    continue
                asker, expert = await self._tickets.asker_of(connection, job)
                queue = self._kit.queues.get(expert)
                if queue is None:
                    continue
                await self._tickets.issue(connection, job, asker, queue, None)
            log.warning("a job had no ticket", extra={"job": job})

    async def _aged(self) -> None:
        """Nobody waits for ever while others come and go."""
        async with self._ledger.writing() as connection:
            await connection.execute(_AGE, {"turn": TURN_SECONDS, "first": FIRST})

    async def _passed_by(self) -> None:
        """Tell this machine's operator, once for each queue, what waits here for other weights."""
        ours = set(self._kit.queues.values())
        families = {queue.rpartition(".")[0] for queue in ours}
        async with self._ledger.reading() as connection:
            waiting = sa.select(Ticket.queue).where(Ticket.worker.is_(None)).distinct()
            queues = set(await connection.scalars(waiting))
            living = sa.select(WorkerRow.queues).where(WorkerRow.seen_at > NOW - self._lost_after)
            served = {queue for some in await connection.scalars(living) for queue in some}
        for queue in queues - ours - served - self._told:
            if queue.rpartition(".")[0] in families:
                self._told.add(queue)
                log.warning(
                    "jobs wait for another version of the program, or for other weights on a base of "
                    "ours; install the same here as the bots have, then restart",
                    extra={"queue": queue, "ours": ", ".join(sorted(ours))},
                )

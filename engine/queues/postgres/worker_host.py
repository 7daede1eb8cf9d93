"""A station: the workers of one process on the Postgres queue, and who claims jobs for them.

The models run in child processes on a Unix socket, as in the embedded queue and by the same rules
(queues.dispatcher): a model never blocks the signs of life, and a crash is a child's death, counted against
the job that was alone. The death of the whole station, or its machine, is seen by its silence, and
counts against nobody (queues.postgres.maintenance).
"""

import asyncio
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from engine.errors import LedgerError
from engine.ledger.ledger import Ledger, new_id
from engine.queues.dispatcher import Dispatcher
from engine.queues.fair_queue import QueuedJob
from engine.queues.postgres.claims import Claims
from engine.queues.postgres.maintenance import Maintenance
from engine.queues.postgres.notifications import Listener, queue_channel, station_channel
from engine.queues.postgres.periodic import periodic
from engine.queues.postgres.progress import FencedRecord, ProgressRelay
from engine.queues.postgres.registration import Registration, Registrations
from engine.queues.postgres.worker_socket import WorkerSocket
from engine.settings import Settings
from engine.shutdown import end, within
from engine.workers.fingerprint import ServingFingerprint
from engine.workers.supervisor import Supervisor

POLL_SECONDS = 1.0  # a wake-up that was lost costs no more
BEATS = 6  # signs of life within the time after which a silent worker counts as gone
STRANGE_SECONDS = 5.0  # a claim is known here sooner than that
LEAVE_SECONDS = 0.7  # to tell the others that it goes
MENDED_SECONDS = 30.0  # how often a worker that cannot serve is tried again

log = logging.getLogger(__name__)


class WorkerHost:
    """`lazy`: workers start when a job waits and nobody else serves it."""

    def __init__(
        self,
        settings: Settings,
        kit: ServingFingerprint,
        ledger: Ledger,
        url: sa.URL,
        media: Iterable[str],
        *,
        device: str = "",
        lazy: bool = False,
    ) -> None:
        self.name = new_id()
        self._settings = settings
        self._lazy = lazy
        self._tickets = Claims(ledger)
        self.registrations = Registrations(ledger, self.name, kit, media)
        self._relay = ProgressRelay(ledger, self.registrations.numbers)
        self.floor = Dispatcher(
            FencedRecord(self._tickets, self._number_of, self._relay.begun),
            worker_ready=self._ready,
            dispatched=self._wake,
            unfit=self._unfit,
            kit=kit,
        )
        self._door = WorkerSocket(settings, self.name, self.floor)
        self.supervisor = Supervisor(settings, socket=self._door.path, device=device)
        self._rescue = Maintenance(ledger, kit, settings.lost_after)
        channels = [station_channel(self.name)]
        channels += [queue_channel(q) for post in self.registrations for q in post.queues]
        self._listener = Listener(url, channels, self._heard, self.look)
        self._tasks: list[asyncio.Task[None]] = []
        self._look = asyncio.Event()
        self._draining = False

    async def start(self, warm: Iterable[str] = (), *, children: bool = True) -> None:
        """Announce the workers and begin; those of `warm`, or all unless lazy, start at once."""
        await self._door.open()
        for post in self.registrations:
            await self.registrations.announce(post)
        self._relay.start()
        self._listener.start()
        beats = self._settings.lost_after / BEATS
        self._tasks = [
            periodic("signs of life", self._live, beats, self._look),
            periodic("maintenance", self._rescue.by_chance, self._rescue.pause),
            *(
                periodic(f"{p.medium} claims", partial(self._claim, p), POLL_SECONDS, p.wake)
                for p in self.registrations
            ),
        ]
        if children:
            self.supervisor.start(self.floor.unfit)
            for post in self.registrations:
                if not self._lazy or post.medium in warm:
                    self.supervisor.need(post.medium)
        log.info("station started", extra={"station": self.name})

    @property
    def socket(self) -> Path:
        """Where its workers connect."""
        return self._door.path

    def _number_of(self, job: str) -> int:
        entry = self.floor.entries.get(job)
        return entry.number if entry else 0

    def need(self, medium: str) -> None:
        """Start the medium's worker if it is not there."""
        if medium in self.registrations:
            self.supervisor.need(medium)

    def _wake(self, medium: str) -> None:
        if medium in self.registrations:
            self.registrations[medium].wake.set()

    def _unfit(self, medium: str, reason: str) -> None:
        """Hand back what waits for a medium that no worker here serves, for this reason."""
        if medium not in self.registrations:
            return
        post = self.registrations[medium]
        post.reason = reason
        jobs = [entry.job.id for entry in self.floor.line(medium).clear()]
        for job in jobs:
            self.floor.entries.pop(job, None)
        if jobs:
            number = post.number
            self.floor.writer.put(lambda: self._tickets.hand_back(number, jobs), jobs[0])
        self._look.set()

    def _ready(self, medium: str) -> None:
        self.supervisor.ready(medium)
        if medium in self.registrations:
            self.registrations[medium].reason = ""
        self._look.set()

    def _heard(self, channel: str, _words: str) -> None:
        for post in self.registrations:
            if channel in post.channels:
                post.wake.set()
                return
        self._look.set()

    def look(self) -> None:
        """See to tickets and waiting jobs now."""
        self._look.set()
        for post in self.registrations:
            post.wake.set()

    async def _claim(self, post: Registration) -> None:
        """Take jobs for as long as there is room; start a worker where something waits for one."""
        loop, lost_after = asyncio.get_running_loop(), self._settings.lost_after
        try:
            while not self._draining and self.floor.room(post.medium) > 0:
                if not await self._take(post):
                    break
            patient = post.reason and loop.time() - post.tried < MENDED_SECONDS
            idle = not self.floor.slots(post.medium) and not patient
            if idle and await self.registrations.needed(
                post, lazy=self._lazy, lost_after=lost_after
            ):
                post.tried = loop.time()
                self.need(post.medium)
        except LedgerError:
            self._look.set()  # it may have been claimed all the same
            raise

    async def _take(self, post: Registration) -> bool:
        number = post.number
        claim = await self._tickets.claim(number, post.queues)
        if claim is None:
            return False
        if number != post.number:  # announced anew meanwhile: the claim was handed back
            return True
        left, cancelled = claim
        entry = QueuedJob(**left._asdict(), number=number, followers={self._relay})
        self._give_up(left.job.id)  # an earlier attempt that we were slow to let go
        self.floor.add(entry)
        if cancelled:
            self.floor.cancel(left.job.id)
        return True

    async def _live(self) -> None:
        """Give signs of life, and see what became of our tickets."""
        for post in self.registrations:
            await self._beat(post)

    async def _beat(self, post: Registration) -> None:
        """One sign of life; jobs that were cancelled, taken out or given to others stop here."""
        number, slots = post.number, self.floor.slots(post.medium)
        running = self.floor.running(post.medium)
        if not await self.registrations.beat(
            post, slots=slots, running=running, leaving=self._draining
        ):
            log.warning("this worker counted as gone", extra={"worker": number})
            await self.registrations.announce(post)
        mine = {job: entry for job, entry in self.floor.entries.items() if entry.number == number}
        held = await self._tickets.held(post.number)
        for job, entry in mine.items():
            if self.floor.entries.get(job) is not entry:
                continue
            if job not in held and not entry.ending:
                log.warning("a job is not ours any more", extra={"job": job})
                self._give_up(job)
            elif held.get(job) and not entry.cancelled:
                self.floor.cancel(job)
        await self._return_strange(post, held.keys() - self.floor.entries.keys())

    def _give_up(self, job: str) -> None:
        """Whoever has its ticket runs it now."""
        entry = self.floor.entries.pop(job, None)
        if entry is not None:
            self._relay.forget(job)
            self.floor.forget(entry)
            self.floor.dispatch(entry.job.medium)

    async def _return_strange(self, post: Registration, strange: set[str]) -> None:
        """Tickets that we hold without knowing (a claim whose answer was lost) wait again."""
        now = asyncio.get_running_loop().time()
        post.strange = {job: post.strange.get(job, now) for job in strange}
        old = [job for job, since in post.strange.items() if now - since > STRANGE_SECONDS]
        if old:
            log.warning("tickets of unknown jobs go back", extra={"jobs": len(old)})
            await self._tickets.hand_back(post.number, old)

    async def close(self, grace: float = 0.0) -> None:
        """Take nothing new, give what runs so many seconds, hand the rest back, and leave."""
        self._draining = True
        self._look.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while any(entry.worker for entry in self.floor.entries.values()):
                    await asyncio.sleep(0.05)
        self.floor.closing = True
        await self.floor.writer.close()
        ended = await asyncio.gather(self._leave(), self._listener.close(), self._relay.close())
        await self.supervisor.close()
        await self._door.close()
        if all(ended):
            log.info("station stopped", extra={"station": self.name, "pid": os.getpid()})

    async def _leave(self) -> bool:
        """Claim no more, and hand back what is left; else the others see it by our silence."""
        ended = await end(*self._tasks)
        try:
            await within(LEAVE_SECONDS, self.registrations.leave())
        except (LedgerError, TimeoutError) as error:
            log.warning("the station could not take its leave", extra={"why": str(error)})
        return ended

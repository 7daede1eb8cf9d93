"""The workers of one process on the PostgreSQL queue, and who claims jobs for them.

The models run in child processes on a Unix socket, as in the embedded queue and by the same rules
(queues.dispatcher): a model never blocks the signs of life, and a crash is a child's death, counted
against the job that was alone. The death of the whole process, or its machine, is seen by its silence,
and counts against nobody (`maintenance`).
"""

import asyncio
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path

from engine.errors import LedgerError
from engine.files import alive
from engine.ledger.ledger import Ledger, new_id
from engine.ledger.storage import database_url
from engine.queues.dispatcher import Dispatcher
from engine.queues.fair_queue import QueuedJob
from engine.queues.postgres.claims import Claims
from engine.queues.postgres.maintenance import Maintenance
from engine.queues.postgres.notifications import Listener, queue_channel, worker_host_channel
from engine.queues.postgres.periodic import periodic
from engine.queues.postgres.progress import FencedRecord, ProgressRelay
from engine.queues.postgres.registration import Registration
from engine.settings import Settings, make_runtime
from engine.shutdown import end, within
from engine.workers.fingerprint import ServingFingerprint
from engine.workers.protocol import Hello, Link, Server
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
        fingerprint: ServingFingerprint,
        ledger: Ledger,
        media: Iterable[str],
        *,
        lazy: bool = False,
    ) -> None:
        self.name = new_id()
        self._settings = settings
        self._lazy = lazy
        self._claims = Claims(ledger)
        self.registrations = {
            medium: Registration(self._claims, self.name, fingerprint, medium) for medium in media
        }
        self._relay = ProgressRelay(ledger, self.numbers)
        self.dispatcher = Dispatcher(
            FencedRecord(self._claims, self._number_of, self._relay.begun),
            worker_ready=self._ready,
            end_worker=lambda medium, pid: self.supervisor.kill(medium, pid),
            stuck_after=settings.stuck_after,
            dispatched=self._wake,
            on_unfit=self._unfit,
            fingerprints=lambda: [fingerprint],
        )
        name = f"s-{os.getpid()}-{self.name[-4:].lower()}.sock"
        self._socket = Server(settings.runtime / name, self._serve)
        self.supervisor = Supervisor(settings, socket=self._socket.path)
        self._maintenance = Maintenance(ledger, fingerprint, settings.lost_after)
        self._media = {queue_channel(q): m for m, r in self.registrations.items() for q in r.queues}
        channels = (worker_host_channel(self.name), *self._media)
        self._listener = Listener(database_url(settings), channels, self._heard, self.look)
        self._tasks: list[asyncio.Task[None]] = []
        self._look = asyncio.Event()
        self._draining = False

    async def start(self, warm: Iterable[str] = (), *, children: bool = True) -> None:
        """Announce the workers and begin; those of `warm`, or all unless lazy, start at once."""
        make_runtime(self._settings)
        for path in self._settings.runtime.glob("s-*-*.sock"):  # of processes that were killed
            if not alive(path.name.split("-")[1]):
                path.unlink(missing_ok=True)
        await self._socket.open()
        for registration in self.registrations.values():
            await registration.announce()
        self._relay.start()
        self._listener.start()
        beats = self._settings.lost_after / BEATS
        self._tasks = [
            periodic("signs of life", self._live, beats, self._look),
            periodic("maintenance", self._maintenance.run, self._maintenance.pause),
            *(
                periodic(f"{medium} claims", partial(self._claim, one), POLL_SECONDS, one.wake)
                for medium, one in self.registrations.items()
            ),
        ]
        if children:
            self.supervisor.start(self.dispatcher.unfit)
            for medium in self.registrations:
                if not self._lazy or medium in warm:
                    self.supervisor.need(medium)
        log.info("worker host started", extra={"worker_host": self.name})

    @property
    def socket(self) -> Path:
        return self._socket.path

    async def _serve(self, link: Link) -> None:
        hello = await link.receive()
        if isinstance(hello, Hello) and hello.medium in self.registrations:
            await self.dispatcher.serve(hello, link)

    def numbers(self) -> list[int]:
        return [one.number for one in self.registrations.values() if one.number]

    def _number_of(self, job: str) -> int:
        entry = self.dispatcher.entries.get(job)
        return entry.number if entry else 0

    def need(self, medium: str) -> None:
        if medium in self.registrations:
            self.supervisor.need(medium)

    def _wake(self, medium: str) -> None:
        self.registrations[medium].wake.set()

    def _unfit(self, medium: str, reason: str) -> None:
        """Hand back what waits for a medium that no worker here serves, for this reason."""
        registration = self.registrations[medium]
        registration.reason = reason
        jobs = [entry.job.id for entry in self.dispatcher.queue_of(medium).clear()]
        for job in jobs:
            self.dispatcher.entries.pop(job, None)
        if jobs:
            hand_back = partial(self._claims.hand_back, registration.number, jobs)
            self.dispatcher.writer.put(hand_back, jobs[0])
        self._look.set()

    def _ready(self, medium: str) -> None:
        self.supervisor.ready(medium)
        self.registrations[medium].reason = ""
        self._look.set()

    def _heard(self, channel: str, _words: str) -> None:
        if channel in self._media:
            self._wake(self._media[channel])
        else:
            self._look.set()

    def look(self) -> None:
        self._look.set()
        for medium in self.registrations:
            self._wake(medium)

    async def _claim(self, registration: Registration) -> None:
        """Take jobs for as long as there is room; start a worker where something waits for one."""
        loop, medium = asyncio.get_running_loop(), registration.medium
        try:
            while not self._draining and self.dispatcher.room(medium) > 0:
                if not await self._take(registration):
                    break
            patient = registration.reason and loop.time() - registration.tried < MENDED_SECONDS
            if not self.dispatcher.slots(medium) and not patient:
                lost_after = self._settings.lost_after
                if await registration.needed(lazy=self._lazy, lost_after=lost_after):
                    registration.tried = loop.time()
                    self.need(medium)
        except LedgerError:
            self._look.set()  # it may have been claimed all the same
            raise

    async def _take(self, registration: Registration) -> bool:
        number = registration.number
        claim = await self._claims.claim(number, registration.queues)
        if claim is None:
            return False
        if number != registration.number:  # announced anew meanwhile: the claim was handed back
            return True
        left, cancelled = claim
        self._give_up(left.job.id)  # an earlier attempt that we were slow to let go
        entry = QueuedJob(**left._asdict(), number=number, followers={self._relay})
        self.dispatcher.add(entry)
        if cancelled:
            self.dispatcher.cancel(left.job.id)
        return True

    async def _live(self) -> None:
        for registration in self.registrations.values():
            await self._beat(registration)

    async def _beat(self, registration: Registration) -> None:
        """Give a sign of life; stop jobs that were cancelled, taken out or given to others."""
        number, medium, entries = registration.number, registration.medium, self.dispatcher.entries
        slots, running = self.dispatcher.slots(medium), self.dispatcher.running(medium)
        if not await registration.beat(slots=slots, running=running, leaving=self._draining):
            log.warning("this worker counted as gone", extra={"worker": number})
            await registration.announce()
        mine = {job: entry for job, entry in entries.items() if entry.number == number}
        held = await self._claims.held(registration.number)
        for job, entry in mine.items():
            if entries.get(job) is not entry:
                continue
            if job not in held and not entry.ending:
                log.warning("a job is not ours any more", extra={"job": job})
                self._give_up(job)
            elif held.get(job) and not entry.cancelled:
                self.dispatcher.cancel(job)
        await self._return_strange(registration, held.keys() - entries.keys())

    def _give_up(self, job: str) -> None:
        entry = self.dispatcher.entries.pop(job, None)
        if entry is not None:
            self._relay.forget(job)
            self.dispatcher.forget(entry)
            self.dispatcher.dispatch(entry.job.medium)

    async def _return_strange(self, registration: Registration, strange: set[str]) -> None:
        """Hand back tickets that we hold without knowing (a claim whose answer was lost)."""
        now, known = asyncio.get_running_loop().time(), registration.strange
        registration.strange = {job: known.get(job, now) for job in strange}
        old = [job for job, at in registration.strange.items() if now - at > STRANGE_SECONDS]
        if old:
            log.warning("tickets of unknown jobs go back", extra={"jobs": len(old)})
            await self._claims.hand_back(registration.number, old)

    async def close(self, grace: float = 0.0) -> None:
        """Take nothing new, give what runs so many seconds, hand the rest back, and leave."""
        self._draining = True
        self._look.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                while any(entry.worker for entry in self.dispatcher.entries.values()):
                    await asyncio.sleep(0.05)
        self.dispatcher.closing = True
        await self.dispatcher.writer.close()
        ended = await asyncio.gather(self._leave(), self._listener.close(), self._relay.close())
        await self.supervisor.close()
        await self._socket.close()
        if all(ended):
            log.info("worker host stopped", extra={"worker_host": self.name, "pid": os.getpid()})

    async def _leave(self) -> bool:
        """Claim no more, and hand back what is left; else the others see it by our silence."""
        ended = await end(*self._tasks)
        try:
            for registration in self.registrations.values():
                await within(LEAVE_SECONDS / len(self.registrations), registration.leave())
        except (LedgerError, TimeoutError) as error:
            log.warning("the worker host could not say that it leaves", extra={"why": str(error)})
        return ended

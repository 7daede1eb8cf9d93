"""Stories in process: one resident base, every expert's adapter beside it, all jobs in one batch.

A job joins the batch when a row is free and leaves it with its last token; each meets exactly its own
adapter (see backends.mixing). What the mixing engine does not know goes to backends.peft_text.
"""

import asyncio
import logging
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress

from engine.backends.counters import Counters
from engine.backends.job_channel import JobChannel, deliver
from engine.backends.model_loading import (
    RESIDENT_BASES,
    ExpertFiles,
    expert_of,
    load_base,
    use_threads,
)
from engine.backends.peft_text import PeftTextBackend
from engine.backends.resident_base import ResidentBase, make_resident
from engine.errors import UnmixableError
from engine.events import Cancelled, Event
from engine.plan.cards import Expert, Registry
from engine.plan.job import Job
from engine.settings import Settings
from engine.weights.bases import fetch, find_base

log = logging.getLogger(__name__)


class TextBackend:
    """Write texts; repeatable by seed on one machine with one number of threads."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._files = ExpertFiles(registry)
        self._bases: OrderedDict[str, ResidentBase] = OrderedDict()
        self._unmixable: dict[str, str] = {}  # bases, with the reason
        self._peft = PeftTextBackend(settings, registry)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="text")
        self._arrived: deque[JobChannel] = deque()
        self._channels: dict[JobChannel, None] = {}  # the model's thread's own, in order
        self.gauges = Counters(settings.slots or 1)

    @property
    def slots(self) -> int:
        return self.gauges.slots

    async def load(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._warm)

    def _warm(self) -> None:
        use_threads(self._settings)
        for expert in self._files.registry.experts:
            if expert.medium == "text":
                with suppress(UnmixableError):
                    self._resident(expert, plain=False)
                return

    async def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        channel = JobChannel(job, stop)
        self._arrived.append(channel)
        try:
            async with aclosing(channel.events(self._thread, self._serve)) as events:
                async for event in events:
                    yield event
            return
        except UnmixableError as reason:
            log.info("served without mixing", extra={"expert": job.expert, "reason": str(reason)})
        async with aclosing(self._peft.generate(job, stop)) as events:
            async for event in events:
                yield event

    def _serve(self) -> None:
        while self._arrived or self._channels:
            while self._arrived:
                self._receive(self._arrived.popleft())
            self._step()

    def _receive(self, channel: JobChannel) -> None:
        self._channels[channel] = None
        job = channel.job
        try:
            expert = expert_of(self._files.registry, job)
            channel.send_loading(expert.title)
            resident = self._resident(expert, plain=job.plain)
            if channel.stopped():
                channel.emit(Cancelled(job=job.id, attempt=job.attempt))
            else:
                merged = self._files.merged(expert, resident.digest, plain=job.plain)
                resident.seat(channel, expert.bans, merged)
        except Exception as error:  # noqa: BLE001 - raised again on the asker's side
            channel.emit(error)

    def _resident(self, expert: Expert, *, plain: bool) -> ResidentBase:
        """Give the expert's base, with its adapter unless `plain`. Raises ModelError, UnmixableError."""
        weights, adapter = self._files.of(expert, plain=plain)
        if reason := self._unmixable.get(weights.base):
            raise UnmixableError(reason)
        resident = self._bases.get(weights.base)
        if resident is None:
            fetch(find_base(weights.base, self._settings.models))  # or the others stay
            self._make_room()
            resident = self._bases[weights.base] = self._load_resident(weights.base)
        self._bases.move_to_end(weights.base)
        if adapter is not None and not resident.has(expert.name):
            resident.adopt(expert.name, adapter, weights.digest)
        return resident

    def _load_resident(self, base: str) -> ResidentBase:
        mixed = self._settings.text_engine != "peft"
        loaded = load_base(base, self._settings.models, direct=mixed)
        try:
            resident = make_resident(loaded, self._settings, self.gauges)
        except UnmixableError as reason:
            self._unmixable[base] = str(reason)
            self._peft.take(base, lambda: loaded)
            raise
        self.gauges.slots = max(self.gauges.slots, resident.mixer.slots)
        return resident

    def _make_room(self) -> None:
        """Drop the base unused for longest, once its jobs are done; idle ones keep only weights."""
        while len(self._bases) >= RESIDENT_BASES:
            name, resident = next(iter(self._bases.items()))
            while resident.mixer.busy:
                self._step()
            del self._bases[name]
        for resident in self._bases.values():
            resident.mixer.rest()

    def _step(self) -> None:
        """Take one step of every batch, deliver its events, forget finished jobs."""
        for resident in self._bases.values():
            if resident.mixer.busy:
                try:
                    resident.mixer.step()
                except Exception as error:
                    log.exception("a step of the batch failed")
                    resident.mixer.give_up(error)
        self.gauges.busy = sum(r.mixer.seated for r in self._bases.values())
        deliver(self._channels)
        self._channels = {channel: None for channel in self._channels if not channel.done}

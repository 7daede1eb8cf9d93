"""Stories in process: one resident base, every expert's adapter beside it, all jobs in one batch.

A job joins the batch when a row is free and leaves it with its last token; each meets exactly its own
adapter, none is ever merged (see backends.mixing). All of it runs in one thread of its own, so that
the worker's loop stays free. What the mixing engine does not know goes to backends.peft_text.
"""

import asyncio
import logging
import os
import threading
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from engine.backends.counters import Counters
from engine.backends.job_channel import JobChannel, deliver
from engine.backends.model_loading import load_base, resolve_for
from engine.backends.peft_text import PeftTextBackend
from engine.backends.prompt_window import prompt_ids
from engine.backends.resident_base import ResidentBase, make_resident
from engine.errors import ModelError
from engine.events import Cancelled, Event, Loading, Text, is_final
from engine.plan.cards import Expert, Registry, Weights
from engine.plan.job import Job
from engine.settings import Settings

if TYPE_CHECKING:
    from engine.backends.mixing.adapters import UnmixableError

__all__ = ["TextBackend", "prompt_ids"]

RESIDENT_BASES = 2  # merged full models are bases too; the one unused for longest goes

log = logging.getLogger(__name__)


class TextBackend:
    """Write texts; repeatable by seed on one machine with one number of threads."""

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._bases: OrderedDict[str, ResidentBase] = OrderedDict()
        self._places: dict[tuple[str, bool], tuple[Weights, Path | None]] = {}  # expert, plain
        self._unmixable: dict[str, UnmixableError] = {}  # bases, with the reason
        self._peft = PeftTextBackend(settings, registry)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="text")
        self._lock = threading.Lock()
        self._arrived: deque[JobChannel] = deque()
        self._serving = False
        self._tickets: dict[JobChannel, None] = {}  # the model's thread's own, in order
        self.gauges = Counters()
        self._slots = settings.slots or 1

    @property
    def slots(self) -> int:
        """Count the jobs generated at a time; known when the first base is loaded."""
        return self._slots

    async def load(self) -> None:
        """Load the first text expert's base and adapter; the others come when they are asked for."""
        experts = [e for e in self._registry.experts if e.medium == "text"]
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._warm, experts)

    def _warm(self, experts: list[Expert]) -> None:
        import torch

        from engine.backends.mixing.adapters import UnmixableError

        torch.set_num_threads(self._settings.threads or max(1, (os.cpu_count() or 2) // 2))
        if experts:
            with suppress(UnmixableError):
                self._resident(experts[0], plain=False)

    async def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        ticket = JobChannel(job, stop, asyncio.get_running_loop())
        with self._lock:
            self._arrived.append(ticket)
            if not self._serving:
                self._serving = True
                self._thread.submit(self._serve)
        try:
            while (item := await ticket.inbox.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                if isinstance(item, Text) and stop.is_set():
                    continue  # written before the batch heard of the stop
                yield item
                if is_final(item):
                    return
        finally:
            ticket.leave()
        async with aclosing(self._peft.generate(job, stop)) as events:
            async for event in events:
                yield event

    def _serve(self) -> None:
        """Receive, step and deliver in the model's thread until nothing is left."""
        while True:
            with self._lock:
                arrived = list(self._arrived)
                self._arrived.clear()
                if not arrived and not self._tickets:
                    self._serving = False
                    return
            for ticket in arrived:
                self._receive(ticket)
            self._step()

    def _receive(self, ticket: JobChannel) -> None:
        """Get a job's expert ready and queue the job, or end it with what prevents that."""
        from engine.backends.mixing.adapters import UnmixableError

        self._tickets[ticket] = None
        job = ticket.job
        try:
            expert = self._registry.named(job.expert)
            if expert is None:
                raise ModelError(f"This worker has no expert {job.expert!r}; restart it.")
            what = f"getting {expert.title} ready"
            ticket.emit(Loading(job=job.id, attempt=job.attempt, what=what))
            deliver(self._tickets)
            resident = self._resident(expert, plain=job.plain)
            if ticket.stopped():
                ticket.emit(Cancelled(job=job.id, attempt=job.attempt))
                return
            weights, adapter = self._places[expert.name, job.plain]
            merged = resident.digest if weights.adapter and adapter is None else ""
            if merged and weights.digest not in ("", merged):
                raise ModelError(
                    f"The model of {expert.name} is not the one on its card. Add it anew."
                )
            resident.seat(ticket, merged)
        except UnmixableError as reason:
            log.info("served without mixing", extra={"expert": job.expert, "reason": str(reason)})
            ticket.emit(None)
        except Exception as error:  # noqa: BLE001 - raised again on the asker's side
            ticket.emit(error)

    def _resident(self, expert: Expert, *, plain: bool) -> ResidentBase:
        """Give the expert's base, with its adapter unless `plain`. Raises ModelError."""
        place = (expert.name, plain)
        if place not in self._places:
            self._places[place] = resolve_for(self._registry.weights(expert), plain=plain)
        weights, adapter = self._places[place]
        if (reason := self._unmixable.get(weights.base)) is not None:
            raise reason
        resident = self._bases.get(weights.base)
        if resident is None:
            self._make_room()
            resident = self._bases[weights.base] = self._load_resident(weights.base)
        self._bases.move_to_end(weights.base)
        if adapter is not None and not resident.has(expert.name):
            resident.adopt(expert.name, adapter, weights.digest)
        return resident

    def _load_resident(self, base: str) -> ResidentBase:
        from engine.backends.mixing.adapters import UnmixableError

        loaded = load_base(base, self._settings.models, self._settings.precision)
        try:
            resident = make_resident(loaded, self._settings, self.gauges)
        except UnmixableError as reason:
            self._unmixable[base] = reason
            self._peft.take(base, loaded)
            raise
        self._slots = max(self._slots, resident.mixer.slots)
        return resident

    def _make_room(self) -> None:
        """Drop the base unused for longest, once its jobs are done."""
        while len(self._bases) >= RESIDENT_BASES:
            name, resident = next(iter(self._bases.items()))
            while resident.mixer.busy:
                self._step()
            del self._bases[name]

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
        deliver(self._tickets)
        self._tickets = {ticket: None for ticket in self._tickets if not ticket.done}

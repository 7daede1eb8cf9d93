"""Pictures in process: diffusers' SDXL, one base resident, LoRAs hot-swapped, pictures drawn together.

Jobs wait in one line. Those at its front that ask for the same expert at the same size and strength
share the denoising loop: a picture joins between two steps, as soon as there is room, and leaves when
it is finished or cancelled. Each has its own seed, scheduler and steps, so company changes nothing but
rounding (see diffusion.denoising). A job of another expert waits until the loop is empty, and nothing
behind it overtakes, so no job starves. That is why `slots` is 4: four jobs must be here at once for the
loop to find them. One thread of its own does it all, so that the worker's loop stays free.
"""

import asyncio
import logging
import os
import queue
import threading
import time
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from engine.backends.diffusion.picture_job import PictureJob
from engine.backends.diffusion.picture_scheduler import PictureScheduler
from engine.errors import ModelError
from engine.events import Event
from engine.plan.cards import Registry
from engine.plan.job import Job
from engine.settings import Settings

log = logging.getLogger(__name__)


class ImageBackend:
    """Draw pictures; repeatable by seed on one device."""

    slots = 4

    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._inbox: queue.SimpleQueue[PictureJob] = queue.SimpleQueue()
        self._studio = PictureScheduler(settings, registry, self._inbox)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="images")

    async def load(self) -> None:
        """Load the first base that can be loaded; others come when they are asked for."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._warm)

    def _warm(self) -> None:
        import torch

        torch.set_num_threads(self._settings.threads or max(1, (os.cpu_count() or 2) // 2))
        faults: list[ModelError] = []
        for expert in self._registry.experts:
            if expert.medium != "image":
                continue
            try:
                self._studio.fetch(expert)
            except ModelError as error:
                log.warning("an expert cannot draw: %s", error, extra={"expert": expert.name})
                faults.append(error)
            else:
                return
        if faults:
            raise faults[0]

    async def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        loop = asyncio.get_running_loop()
        inbox: asyncio.Queue[Event | Exception | None] = asyncio.Queue()

        def emit(event: Event | Exception) -> None:
            loop.call_soon_threadsafe(inbox.put_nowait, event)

        commission = PictureJob(job, stop, emit, time.monotonic())
        self._inbox.put(commission)
        done = loop.run_in_executor(self._thread, self._studio.work)
        done.add_done_callback(lambda _done: inbox.put_nowait(None))
        try:
            while (event := await inbox.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
            await done  # raises what the thread raised
        finally:
            commission.left.set()

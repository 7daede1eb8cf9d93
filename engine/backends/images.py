"""Pictures in process: diffusers' SDXL, one base resident, LoRAs hot-swapped, pictures drawn together.

Jobs wait in one line. Those at its front that ask for the same base and size share the denoising loop,
each with its own LoRAs: a picture joins between two steps, as soon as there is room, and leaves when
it is finished or cancelled (see diffusion.denoise). A job of another base or size waits until the loop
is empty, and nothing behind it overtakes, so no job starves. `slots` is as many as one pass takes: so
many jobs must be here at once for the loop to find them.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncGenerator
from concurrent.futures import ThreadPoolExecutor

from engine.backends.diffusion.picture_job import PictureJob
from engine.backends.diffusion.picture_scheduler import PictureScheduler
from engine.backends.job_channel import JobChannel
from engine.backends.model_loading import use_threads
from engine.errors import ModelError
from engine.events import Event
from engine.plan.cards import Registry
from engine.plan.job import Job
from engine.settings import Settings

log = logging.getLogger(__name__)


class ImageBackend:
    def __init__(self, settings: Settings, registry: Registry) -> None:
        self._settings = settings
        self._registry = registry
        self._arrived: queue.SimpleQueue[PictureJob] = queue.SimpleQueue()
        self._scheduler = PictureScheduler(settings, registry, self._arrived)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="images")

    @property
    def slots(self) -> int:
        return self._scheduler.together

    async def load(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._thread, self._warm)

    def _warm(self) -> None:
        use_threads(self._settings)
        fault: ModelError | None = None
        for expert in self._registry.experts:
            if expert.medium != "image":
                continue
            try:
                self._scheduler.fetch(expert)
                return
            except ModelError as error:
                log.warning("an expert cannot draw: %s", error, extra={"expert": expert.name})
                fault = fault or error
        if fault:
            raise fault

    def generate(self, job: Job, stop: threading.Event) -> AsyncGenerator[Event]:
        channel = JobChannel(job, stop)
        self._arrived.put(PictureJob(channel))
        return channel.events(self._thread, self._scheduler.work)

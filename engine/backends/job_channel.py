"""What connects a job in the model's thread with the asker's side in the event loop."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from concurrent.futures import Executor, Future
from contextlib import aclosing

from engine.events import Cancelled, Event, Loading, Text, is_final
from engine.plan.job import Job
from engine.shutdown import end

Item = Event | BaseException
STOP_SECONDS = 0.02  # how soon a stop is noticed while nothing comes


class JobChannel:
    """Connect one job's two threads: only the model's emits, only the event loop's reads. The last item
    is a final event, or the exception in its place."""

    def __init__(self, job: Job, stop: threading.Event) -> None:
        self.job = job
        self.done = False
        self._stop = stop
        self._left = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._inbox: asyncio.Queue[Item] = asyncio.Queue()
        self._unsent: list[Item] = []

    def stopped(self) -> bool:
        """Tell whether the job was cancelled, or nobody listens any more."""
        return self._stop.is_set() or self._left.is_set()

    def emit(self, item: Item) -> None:
        if not self.done:
            self._unsent.append(item)
            self.done = isinstance(item, BaseException) or is_final(item)

    def send(self, item: Item) -> None:
        self.emit(item)
        deliver([self])

    def send_loading(self, title: str) -> None:
        what = f"getting {title} ready"
        self.send(Loading(job=self.job.id, attempt=self.job.attempt, what=what))

    async def events(
        self, thread: Executor, work: Callable[[], object], *, alone: bool = False
    ) -> AsyncGenerator[Event]:
        """Run `work` in the model's thread and give the job's events; an exception in the final one's
        place, or of `work`, is raised. Where it is `alone` in it, a stop takes back what waits."""
        working = thread.submit(work)
        working.add_done_callback(self._worked)
        try:
            while alone and not (working.running() or working.done()):
                if await stopped(self._stop, STOP_SECONDS) and working.cancel():
                    yield Cancelled(job=self.job.id, attempt=self.job.attempt)
                    return
            while not isinstance(item := await self._inbox.get(), BaseException):
                if isinstance(item, Text) and self._stop.is_set():
                    continue  # written before the model's thread heard of the stop
                yield item
                if is_final(item):
                    return
            raise item
        finally:
            self._left.set()

    def _worked(self, done: Future[object]) -> None:
        if not done.cancelled() and (error := done.exception()):
            self.send(error)


async def stopped(stop: threading.Event, seconds: float) -> bool:
    """Wait so long, or until `stop` is set; tell whether it is."""
    until = time.monotonic() + seconds
    while not stop.is_set() and (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, STOP_SECONDS))
    return stop.is_set()


def deliver(channels: Iterable[JobChannel]) -> None:
    """Hand over everything unsent, waking each event loop once."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[JobChannel, list[Item]]]] = {}
    for channel in channels:
        if channel._unsent:
            loops.setdefault(channel._loop, []).append((channel, channel._unsent))
            channel._unsent = []
    for loop, sent in loops.items():
        if not loop.is_closed():  # else those who asked are gone
            loop.call_soon_threadsafe(_read_out, sent)


def _read_out(sent: list[tuple[JobChannel, list[Item]]]) -> None:
    for channel, items in sent:
        for item in items:
            channel._inbox.put_nowait(item)


async def until(stream: AsyncGenerator[Event], stop: threading.Event) -> AsyncGenerator[Event]:
    """Give the stream's events until `stop` is set, noticed even while nothing comes."""
    async with aclosing(stream):
        while not stop.is_set():
            coming = asyncio.ensure_future(anext(stream))
            try:
                while not coming.done() and not stop.is_set():
                    await asyncio.wait({coming}, timeout=STOP_SECONDS)
                if not coming.done():
                    return
                yield coming.result()
            except StopAsyncIteration:
                return
            finally:
                await end(coming)

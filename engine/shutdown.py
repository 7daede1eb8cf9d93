"""Leaving within a limit: tasks, courtesies, and the process itself.

A cancellation is only a wish. A library may turn it into an error of its own when the server is
gone, psycopg first asks the server to stop, SQLAlchemy rolls back. So whoever ends a task
calls `end`, which asks again and does not wait for ever; a loop that outlives errors goes on only
while it is `wanted`; and a process that was told to leave does so by a deadline (`Signals`, `run`).
tests/test_shutdown.py keeps other ways out.
"""

import asyncio
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterable
from collections.abc import Set as AbstractSet
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, Self, TypeVar

AGAIN_SECONDS = 0.25  # after which a task is cancelled again
END_SECONDS = 1.5  # that it has to end from then on
SPARE_SECONDS = 4.0  # beyond the grace that was promised, until a process ends itself
THREAD_SECONDS = 1.0  # for threads, once all tasks have ended
LOOK_SECONDS = 0.2  # between two looks at the time that is left
TELL_SECONDS = 0.5  # to say what was left behind

Result = TypeVar("Result")

log = logging.getLogger(__name__)


def wanted() -> bool:
    """Tell whether this task goes on: not once it was cancelled, even if something has eaten that."""
    task = asyncio.current_task()
    return task is None or not task.cancelling()


def spawn(
    tasks: "set[asyncio.Task[Result]]", work: Coroutine[Any, Any, Result], name: str | None = None
) -> "asyncio.Task[Result]":
    """Begin work as a task among `tasks`, which hold it until it is over: asyncio alone would not."""
    task = asyncio.create_task(work, name=name)
    tasks.add(task)
    task.add_done_callback(tasks.discard)
    return task


async def end(
    *tasks: "asyncio.Task[Any] | None", grace: float = 0.0, courtesy: float = AGAIN_SECONDS
) -> bool:
    """Cancel tasks, those that have not ended by themselves within `grace`, and wait for them.

    After `courtesy` they are cancelled again, which breaks off what they await for a good end; after
    END_SECONDS more they are left behind. False then, and the log says where they are.
    """
    late = {task for task in tasks if task is not None and not task.done()}
    if late and grace:
        _ended, late = await asyncio.wait(late, timeout=grace)
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + courtesy + END_SECONDS, courtesy
    while late and loop.time() < until:
        for task in late:
            task.cancel()
        try:
            _ended, late = await asyncio.wait(late, timeout=pause)
        except asyncio.CancelledError:  # and so are those
            for task in late:
                task.cancel()
            raise
        pause = AGAIN_SECONDS
    for told in tasks:
        if told is not None and told.done() and not told.cancelled():
            told.exception()  # looked at, or asyncio would call it forgotten
    for task in late:
        extra = {"task": task.get_name(), "stack": _stack(task)}
        log.error("a task does not end, and is left behind", extra=extra)
    return not late


def _stack(task: "asyncio.Task[Any]") -> str:
    """Say where it waits, the outermost first: files, lines and names, and no values."""
    places: list[str] = []
    waits: Any = task.get_coro()
    while frame := getattr(waits, "cr_frame", None) or getattr(waits, "ag_frame", None):
        file = Path(frame.f_code.co_filename).name
        places.append(f"{frame.f_code.co_name} {file}:{frame.f_lineno}")
        waits = getattr(waits, "cr_await", None) or getattr(waits, "ag_await", None)
    return " > ".join(places)


async def within(seconds: float, work: Coroutine[Any, Any, Result]) -> Result:
    """Await it, or end it and raise TimeoutError when it has not ended so soon."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return await task
        raise TimeoutError(f"not done within {seconds:g} s")
    finally:
        await end(task, courtesy=0.05)


async def pause(event: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the event is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


class Signals:
    """Handle SIGTERM and SIGINT: the first calls `leave`, the second ends the process at once.

    From the first on the process has `grace` seconds and SPARE_SECONDS; then it ends, whatever runs.
    """

    def __init__(self, grace: float) -> None:
        self._grace = grace
        self._before: dict[int, Any] = {}
        self._told, self._left = threading.Event(), threading.Event()
        self._until = math.inf

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._told.set()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def call(self, leave: Callable[[], None]) -> None:
        """Call it from now on; until then a signal ends the process as it comes."""
        loop = asyncio.get_running_loop()

        def told(_number: int, _frame: FrameType | None) -> None:
            # From here on the kernel's own way, which needs neither this loop nor Python.
            for number in self._before:
                signal.signal(number, signal.SIG_DFL)
            self._until = time.monotonic() + self._grace + SPARE_SECONDS
            self._told.set()
            loop.call_soon_threadsafe(leave)

        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, told)
        threading.Thread(target=self._last_resort, args=(loop,), daemon=True).start()

    def hurry(self, seconds: float) -> None:
        self._until = min(self._until, time.monotonic() + seconds)

    def _last_resort(self, loop: asyncio.AbstractEventLoop) -> None:
        self._told.wait()
        while not self._left.wait(LOOK_SECONDS):
            if time.monotonic() > self._until:
                _exit(1, asyncio.all_tasks(loop))


def run(main: Coroutine[Any, Any, Result]) -> Result:
    """Run as asyncio.run does, but what does not end afterwards does not hold the process."""
    before, code = set(threading.enumerate()), 1
    runner = asyncio.Runner()
    try:
        result = runner.run(main)
        code = result if isinstance(result, int) else 0
        return result
    finally:
        if runner.run(_end_all(before)):
            runner.close()
        else:  # words for people come before, and are the caller's
            late = threading.Timer(THREAD_SECONDS, _exit, (code,))
            late.daemon = True
            late.start()


async def end_others(before: "AbstractSet[asyncio.Task[Any]]" = frozenset()) -> bool:
    """End all tasks but those from before, and the one that calls; tells whether none is left."""
    here = asyncio.current_task()
    return await end(*(task for task in asyncio.all_tasks() - before if task is not here))


async def _end_all(before: set[threading.Thread]) -> bool:
    """End what the program has left; tells whether nothing stays, but for threads from before."""
    loop, clean = asyncio.get_running_loop(), await end_others()
    for rest in (loop.shutdown_asyncgens(), loop.shutdown_default_executor()):
        ending = asyncio.create_task(rest)
        await asyncio.wait({ending}, timeout=THREAD_SECONDS)
        clean = clean and ending.done()
    until = loop.time() + THREAD_SECONDS
    for thread in set(threading.enumerate()) - before:
        if not thread.daemon:
            thread.join(max(0.0, until - loop.time()))
            clean = clean and not thread.is_alive()
    return clean


def finish(code: int) -> NoReturn:
    """End the process now that all is done: what Python tidies up takes seconds on a busy machine."""
    late = threading.Timer(THREAD_SECONDS, os._exit, (code,))  # should the log be stuck
    late.daemon = True
    late.start()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _exit(code: int, tasks: "Iterable[asyncio.Task[Any]]" = ()) -> None:
    """End the process, whatever holds it: its log too may be what is stuck."""

    def tell() -> None:
        for task in tasks:
            extra = {"task": task.get_name(), "stack": _stack(task)}
            log.error("it had not ended when the time to leave was over", extra=extra)
        names = ", ".join(t.name for t in threading.enumerate() if not t.daemon)
        log.error("the process ends though not all has ended", extra={"threads": names})
        sys.stdout.flush()

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    teller.join(TELL_SECONDS)
    os._exit(code)

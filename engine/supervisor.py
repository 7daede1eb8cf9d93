"""Starts a worker process for a medium when one is needed, and again when it dies.

A worker that dies before it was ever ready, several times in a row, is given up until the next
request needs it.
"""

import asyncio
import contextlib
import logging
import signal
import sys
from collections.abc import Callable

from engine.settings import Settings

START_TRIES = 3
STOP_SECONDS = 5.0  # a worker has this long to leave before it is killed
RESTART_SECONDS = 0.2
STEADY_SECONDS = 60.0  # having lived this long, a worker counts as started well

log = logging.getLogger(__name__)


class Supervisor:
    """One child process for each medium that was needed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wanted: dict[str, asyncio.Event] = {}
        self._give_up: Callable[[str, str], None] = lambda _medium, _reason: None
        self._started = False

    def start(self, give_up: Callable[[str, str], None]) -> None:
        """From now on start what is needed; `give_up(medium, reason)` when none will stay up."""
        self._give_up = give_up
        self._started = True
        for medium in list(self._wanted):
            self.need(medium)

    def need(self, medium: str) -> None:
        """A worker for the medium should be there; nothing happens if one is."""
        self._wanted.setdefault(medium, asyncio.Event()).set()
        if self._started and medium not in self._tasks:
            self._tasks[medium] = asyncio.create_task(self._keep(medium), name=f"{medium} worker")

    async def _keep(self, medium: str) -> None:
        """Run the worker whenever it is wanted, for as long as the owner lives."""
        quick_deaths = 0
        while True:
            await self._wanted[medium].wait()
            began = asyncio.get_running_loop().time()
            code = await self._run(medium)
            if code == 0:
                self._wanted[medium].clear()
                continue
            lived = asyncio.get_running_loop().time() - began
            killed = code == -signal.SIGKILL
            quick_deaths = 0 if lived > STEADY_SECONDS or killed else quick_deaths + 1
            log.warning("worker ended", extra={"medium": medium, "code": code})
            if quick_deaths >= START_TRIES:
                quick_deaths = 0
                self._wanted[medium].clear()
                self._give_up(
                    medium, f"the {medium} worker ended {START_TRIES} times (code {code})"
                )
            await asyncio.sleep(RESTART_SECONDS)

    async def _run(self, medium: str) -> int:
        """One life of a worker. What it writes to its error output goes to a log of its own."""
        logs = self._settings.home / "logs"
        await asyncio.to_thread(logs.mkdir, parents=True, exist_ok=True)
        path = logs / f"worker-{medium}.err"
        with await asyncio.to_thread(path.open, "ab") as errors:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "engine.worker",
                "--medium",
                medium,
                "--home",
                str(self._settings.home),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,  # Ctrl-C in a terminal is for the client, not for it
            )
            try:
                return await process.wait()
            except asyncio.CancelledError:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), STOP_SECONDS)
                except TimeoutError:
                    process.kill()
                    await process.wait()
                raise

    async def close(self) -> None:
        """End the workers and wait for them."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

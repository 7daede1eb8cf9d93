"""Starts a worker process for a medium when one is needed, and again when it dies; one that dies several
times before it was ready is given up until the next request."""

import asyncio
import contextlib
import logging
import signal
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from engine.environment import inherited
from engine.files import open_log
from engine.settings import Settings
from engine.shutdown import end, wanted

START_TRIES = 3
KILLED_TRIES = 20  # a SIGKILL may be anybody's, so more of them are borne
UNFIT = 3  # exit code of a worker that has told the queue why it cannot work
REFUSED = 4  # exit code of one that serves with other weights, or another version, than we ask for
CHANGED = "Cards, weights or the program were changed while this process ran. Restart the bot."
STOP_SECONDS = 3.0  # a worker has this long to leave before it is killed
RESTART_SECONDS = 0.2  # doubled by every start that failed in a row
LONGEST_PAUSE = 5.0

PORTS = {"text": 1, "image": 2}  # where their metrics are: so far after those of who starts them

log = logging.getLogger(__name__)


class Supervisor:
    """Keep one child process for each medium that was needed, connected to `socket` (or the owner's)."""

    def __init__(self, settings: Settings, *, socket: Path | None = None) -> None:
        self._settings, self._socket = settings, socket
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._wanted: dict[str, asyncio.Event] = {}
        self._give_up: Callable[[str, str], None] = lambda _medium, _reason: None
        self._failed_starts: defaultdict[str, int] = defaultdict(int)
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._started = False

    def start(self, give_up: Callable[[str, str], None]) -> None:
        """Start what is needed from now on; `give_up(medium, reason)` when none will stay up."""
        self._give_up = give_up
        self._started = True
        for medium in list(self._wanted):
            self.need(medium)

    def need(self, medium: str) -> None:
        self._wanted.setdefault(medium, asyncio.Event()).set()
        if self._started and medium not in self._tasks:
            self._tasks[medium] = asyncio.create_task(self._keep(medium), name=f"{medium} worker")

    def ready(self, medium: str) -> None:
        """Note that a worker has its models: what it dies of from now on are jobs."""
        self._failed_starts[medium] = 0

    def kill(self, medium: str, pid: int) -> None:
        """End a child that hangs; as it has served, another is started in its place."""
        process = self._processes.get(medium)
        if process is not None and process.pid == pid:
            process.kill()

    async def _keep(self, medium: str) -> None:
        need = self._wanted[medium]
        while wanted():
            await need.wait()
            need.clear()
            self._failed_starts[medium] += 1
            cannot = ""
            try:
                code = await self._run(medium)
            except OSError as error:
                log.exception("a worker could not be started", extra={"medium": medium})
                code, cannot = 1, f"{error.strerror}: {error.filename}"
            failed = self._failed_starts[medium]
            if not self._started:
                return
            log.warning("worker ended", extra={"medium": medium, "code": code, "failed": failed})
            if code in (UNFIT, REFUSED):  # the next request tries again
                self._failed_starts[medium] = 0
                if code == REFUSED:  # an unfit one has said why itself
                    self._give_up(medium, CHANGED)
            elif failed >= (KILLED_TRIES if code == -signal.SIGKILL else START_TRIES):
                self._failed_starts[medium] = 0
                self._give_up(
                    medium,
                    f"The {medium} worker could not be started ({cannot or f'code {code}'}, {failed} "
                    f"times). See {self._settings.home / 'logs'}.",
                )
            else:
                need.set()
                await asyncio.sleep(min(LONGEST_PAUSE, RESTART_SECONDS * 2 ** max(0, failed - 1)))

    async def _run(self, medium: str) -> int:
        """Run a worker once. What it writes to its error output goes to a log of its own."""
        path = self._settings.home / "logs" / f"worker-{medium}.err"
        errors = await asyncio.to_thread(open_log, path)
        with errors:
            # -P: nothing in the folder that the program was called from is importable
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "engine.workers.worker",
                "--medium", medium, "--home", str(self._settings.home),
                *(("--socket", str(self._socket)) if self._socket else ()),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=errors if self._settings.log_to == "file" else None,  # else ours
                stderr=errors,
                env=environment(self._settings, medium),
                start_new_session=True,  # Ctrl-C in a terminal is for the client, not for it
            )  # fmt: skip
            self._processes[medium] = process
            try:
                return await process.wait()
            finally:
                del self._processes[medium]
                with contextlib.suppress(ProcessLookupError):
                    process.kill()

    async def close(self) -> None:
        self._started = False
        for process in self._processes.values():
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        idle = [task for medium, task in self._tasks.items() if medium not in self._processes]
        await asyncio.gather(end(*idle), end(*self._tasks.values(), grace=STOP_SECONDS))


def environment(settings: Settings, medium: str) -> dict[str, str]:
    """Give a worker this process's settings, and what its libraries and the system need."""
    ours = settings.environment()
    ours.pop("PASTICHE_DATABASE_URL", None)  # it may hold a password; no worker has a use for it
    if settings.metrics_port:
        ours["PASTICHE_METRICS_PORT"] = str(settings.metrics_port + PORTS[medium])
    if medium == "text" and settings.text_server_key is not None:
        ours["PASTICHE_TEXT_SERVER_KEY"] = settings.text_server_key.get_secret_value()
    return inherited() | ours

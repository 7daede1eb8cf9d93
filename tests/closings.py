"""Leaving while the database is cut off, frozen or stopped: how long each kind of process takes."""

import asyncio
import math
import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import postgres
import sqlalchemy as sa
from fleet import PROGRAM, Cable
from following import events_of
from telegram_server import TelegramServer

from engine import Engine
from engine.errors import PasticheError
from engine.plan.job import Request
from engine.process.bootstrap import open_engine
from engine.settings import Settings

SPARE_SECONDS = 5.0  # beyond the grace that was promised
GRACE_SECONDS = 1.0  # that the programs are given here
PATIENCE = 120.0  # then it counts as one that never ends

Kind = Literal["serve", "worker", "queue"]
Fault = Literal["cut", "freeze", "stop", "none"]
UP = {"serve": "is here", "worker": "worker host started"}  # what each says then
KINDS, FAULTS = get_args(Kind), get_args(Fault)
REQUEST = Request(command="story", text="It rained ::slow::", platform="test", asker="7", place="1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What happens to whom: so many seconds after it began, and until it is told to leave. `ready`:
    it had come up before."""

    kind: Kind
    fault: Fault
    before: float = 0.5
    after: float = 0.3
    ready: bool = True


class Closings:
    """One server, one ledger on it, and what stands between them and who leaves."""

    def __init__(self, folder: Path, server: postgres.Server, settings: Settings) -> None:
        self._folder = folder
        self._server = server
        self._runs = 0
        self._cable = Cable(server.port)
        url = sa.make_url(settings.database_url).set(port=self._cable.port)
        words = url.render_as_string(hide_password=False)
        self._settings = settings.model_copy(update={"database_url": words})

    async def of(self, moment: Moment) -> float:
        """Seconds beyond the grace that it took; infinite if it did not end."""
        try:
            match moment.kind:
                case "queue":
                    return await self._queue(moment)
                case "worker":
                    return await self._program(moment, "worker")
                case "serve":
                    async with TelegramServer() as telegram:
                        telegram.private(7)
                        telegram.say("/story It rained ::slow:: for many days and nights")
                        env = {"TELEGRAM_TOKEN": telegram.token, "TELEGRAM_API_BASE": telegram.base}
                        return await self._program(moment, "serve", "--telegram", **env)
        finally:
            self._cable.mend()
            if moment.fault == "stop":
                await asyncio.to_thread(self._server.start)

    async def _happen(self, moment: Moment) -> None:
        await asyncio.sleep(moment.before)
        match moment.fault:
            case "cut":
                self._cable.cut()
            case "freeze":
                self._cable.freeze()
            case "stop":
                await asyncio.to_thread(self._server.stop, signal.SIGQUIT)
        await asyncio.sleep(moment.after)

    async def _queue(self, moment: Moment) -> float:
        async with open_engine(self._settings) as core:
            asking = asyncio.create_task(self._ask(core))
            await self._happen(moment)
            began = time.monotonic()
        took = time.monotonic() - began
        asking.cancel()
        await asyncio.wait({asking}, timeout=PATIENCE)
        return took

    async def _ask(self, core: Engine) -> None:
        with suppress(PasticheError):
            async for _ in events_of(core, REQUEST):
                pass

    async def _program(self, moment: Moment, *words: str, **env: str) -> float:
        env |= self._settings.environment()
        env |= {
            "PASTICHE_DRAIN_SECONDS": str(GRACE_SECONDS),
            "PASTICHE_LEAVE_SECONDS": str(GRACE_SECONDS),
            "PASTICHE_LOG_TO": "stdout",
            "OMP_NUM_THREADS": "1",
        }
        self._runs += 1
        path = self._folder / f"said-{self._runs}"
        with path.open("ab") as said:
            process = await asyncio.create_subprocess_exec(
                *(*PROGRAM, *words), env=os.environ | env, stdout=said, stderr=said
            )
        while moment.ready and UP[moment.kind] not in path.read_text():
            await asyncio.sleep(0.05)
        await self._happen(moment)
        began = time.monotonic()
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(process.wait(), PATIENCE)
        except TimeoutError:
            process.kill()
            return math.inf
        return time.monotonic() - began - GRACE_SECONDS

    def close(self) -> None:
        """For good."""
        self._cable.close()

    @property
    def left_behind(self) -> int:
        """Lines of the programs' logs that say that something did not end."""
        said = self._folder.glob("said-*")
        return sum(path.read_text().count('"engine.shutdown"') for path in said)

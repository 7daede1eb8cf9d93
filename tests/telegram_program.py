"""`pastiche serve --telegram` as its operator runs it: a process beside the loopback server."""

import asyncio
import os
import signal
from pathlib import Path

import forked
from telegram_server import TelegramServer

OURS = ("PASTICHE_", "DISCORD_", "TELEGRAM_", "XDG_", "OPERATORS", "MESSAGE_CONTENT")
UNLIMITED = ("ASKER_BURST", "PLACE_BURST", "ASKER_WAITING")


class Program:
    """One data folder, served by one process after another. `said` is what it wrote to stderr."""

    anew = False  # True: not by a fork, for what is measured

    def __init__(self, folder: Path, server: TelegramServer, **settings: str) -> None:
        self.folder = folder
        self.server = server
        self.stderr = folder / "stderr.txt"
        kept = {k: v for k, v in os.environ.items() if not k.startswith(OURS)}
        self.env = {
            **kept,
            "PASTICHE_HOME": str(folder / "home"),
            "PASTICHE_KEY_FILE": str(folder / "key"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PASTICHE_BACKEND": "echo",
            "PASTICHE_LOG_LEVEL": "DEBUG",
            "PASTICHE_DRAIN_SECONDS": "0.2",
            "TELEGRAM_TOKEN": server.token,
            "TELEGRAM_API_BASE": server.base,
            "OMP_NUM_THREADS": "1",
            **{f"PASTICHE_{name}": "0" for name in UNLIMITED},
            **settings,
        }

    @property
    def said(self) -> str:
        return self.stderr.read_text() if self.stderr.exists() else ""

    @property
    def logged(self) -> str:
        return "".join(p.read_text() for p in (self.folder / "home" / "logs").glob("*"))

    async def start(self, *, ready: bool = True) -> "Program":
        with self.stderr.open("ab") as stderr:
            self.process = await forked.begin(
                ("serve", "--telegram"), self.env, stderr, anew=self.anew
            )
        before = self.server.polls
        if ready:
            await self.server.until(lambda: self.server.polls > before)
        return self

    async def end(self, sign: signal.Signals = signal.SIGTERM) -> int:
        """Its exit code."""
        if self.process.returncode is None:
            self.process.send_signal(sign)
        return await asyncio.wait_for(self.process.wait(), 200)

    async def __aenter__(self) -> "Program":
        return await self.start()

    async def __aexit__(self, *_error: object) -> None:
        await self.end(signal.SIGKILL)

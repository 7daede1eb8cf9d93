"""`pastiche serve --discord` as its operator runs it, against the loopback Discord."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import forked
from discord_people import People
from discord_server import DiscordServer

START_SECONDS = 200
OURS = ("PASTICHE_", "DISCORD_", "TELEGRAM_", "OPERATORS", "MESSAGE_CONTENT")


class Program:
    """One data folder, on which the program may be started again and again."""

    platforms: tuple[str, ...] = ("--discord",)
    anew = False  # True: not by a fork, for what is measured

    def __init__(self, discord: DiscordServer, folder: Path, **settings: str) -> None:
        self.discord = discord
        self.folder = folder
        self.home = folder / "home"
        self._process: forked.Forked | asyncio.subprocess.Process | None = None
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(OURS)},
            "PASTICHE_HOME": str(self.home),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PASTICHE_BACKEND": "echo",
            "PASTICHE_LOG_LEVEL": "DEBUG",
            "PASTICHE_ASKER_BURST": "0",
            "PASTICHE_PLACE_BURST": "0",
            "PASTICHE_ASKER_WAITING": "0",
            "PASTICHE_DRAIN_SECONDS": "2",
            **discord.environment,
            **settings,
        }

    async def start(self) -> None:
        """Until it hears what people say."""
        known = len(self.discord.gateway.identified)
        with (self.folder / "said.txt").open("ab") as said:
            words = ("serve", *self.platforms)
            self._process = await forked.begin(words, self.env, said, anew=self.anew)

        def ready() -> bool:
            if self._process is not None and self._process.returncode is not None:
                raise AssertionError(f"it ended: {self.said}")
            return len(self.discord.gateway.identified) > known and self.discord.gateway.connected

        await self.discord.wait(ready, START_SECONDS)

    async def stop(self, how: int = signal.SIGTERM, seconds: float = 200) -> int:
        """Ask it to end, or (SIGKILL) end it; its exit code."""
        assert self._process is not None
        if self._process.returncode is None:
            self._process.send_signal(how)
        return await asyncio.wait_for(self._process.wait(), seconds)

    async def ended(self, seconds: float = 200) -> int:
        """Its exit code, once it ends by itself."""
        assert self._process is not None
        return await asyncio.wait_for(self._process.wait(), seconds)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process is not None and self._process.returncode is None

    @property
    def said(self) -> str:
        """Everything on its standard output and error, of all its runs."""
        return (self.folder / "said.txt").read_text()

    @property
    def logged(self) -> str:
        """Everything in its logs."""
        return "".join(path.read_text() for path in sorted((self.home / "logs").glob("*")))

    def lines(self, logger: str) -> list[dict[str, Any]]:
        """What one logger wrote."""
        lines = [json.loads(line) for line in self.logged.splitlines()]
        return [line for line in lines if line["logger"].startswith(logger)]


@asynccontextmanager
async def served(folder: Path, **settings: str) -> AsyncIterator[tuple[Program, People]]:
    """A Discord, its people and the running program; nothing unwise may have been sent at the end."""
    async with DiscordServer() as discord:
        program = Program(discord, folder, **settings)
        await program.start()
        try:
            yield program, People(discord)
            assert discord.violations == []
        finally:
            if program.running:
                await program.stop(signal.SIGKILL)

"""The way of a /story through each client: own functions and files to acceptance, generators back.

A real `pastiche` process answers on the loopback platforms with the echo backend, its calls noted by
sys.setprofile. What ran in the idle second before is left out. Down ends when the queue has accepted.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Figure

TESTS = Path(__file__).parents[1]
DRIVERS = Path(__file__).parent / "drivers"
IDLE_SECONDS = 1.5
ACCEPT = ("engine/queues/", ".accept")

Times = tuple[float, float]  # when it was asked, when the answer was whole: monotonic seconds
Client = Callable[[Path, dict[str, str]], Awaitable[Times]]


@dataclass(frozen=True, slots=True)
class Way:
    """What a request met: functions down to acceptance, and the most async generators, one within
    the other, through which its answer climbs back."""

    down: frozenset[tuple[str, str]]
    back: tuple[tuple[str, str], ...]

    @property
    def files(self) -> frozenset[str]:
        """The files of the way down."""
        return frozenset(path for path, _ in self.down)


def hops(folder: Path, root: Path) -> list[Figure]:
    """Three figures for each client."""
    sys.path.append(str(TESTS))  # the servers stand beside the tests
    figures = []
    for name, client in (("terminal", terminal), ("Discord", discord), ("Telegram", telegram)):
        where = folder / name
        where.mkdir()
        way = asyncio.run(_walked(client, where, root))
        figures += [
            Figure(name=f"{name}: files", value=len(way.files), unit="files", against="40"),
            Figure(name=f"{name}: own functions", value=len(way.down), unit="functions"),
            Figure(
                name=f"{name}: nested generators back", value=len(way.back), unit="", against="4"
            ),
        ]
    return figures


async def _walked(client: Client, folder: Path, root: Path) -> Way:
    noted = folder / "calls.json"
    environment = {
        "HOPS_TO": str(noted),
        "HOPS_ROOT": str(root.resolve()),
        "PYTHONPATH": f"{root.resolve()}{os.pathsep}{DRIVERS}",
    }
    os.environ |= environment
    try:
        asked, answered = await client(folder, environment)
    finally:
        for name in environment:
            del os.environ[name]
    return read(noted, asked, answered)


def read(noted: Path, asked: float, answered: float) -> Way:
    """The way between two times."""
    kept = json.loads(noted.read_text(encoding="utf-8"))
    functions = [(path, name, generator) for path, name, generator in kept["functions"]]
    calls = kept["calls"]
    idle = {n for at, n, _, _ in calls if asked - IDLE_SECONDS <= at < asked}
    accepting = {n for n, (path, name, _) in enumerate(functions) if _accepts(path, name)}
    accepted = max(at for at, n, _, _ in calls if n in accepting and asked <= at <= answered)
    down = {n for at, n, call, _ in calls if call and asked <= at <= accepted} - idle
    generators = {n for n, function in enumerate(functions) if function[2]}
    nested = _deepest([c for c in calls if c[0] <= answered], generators, accepted)
    return Way(frozenset(functions[n][:2] for n in down), tuple(functions[n][:2] for n in nested))


def _deepest(calls: list[list[Any]], generators: set[int], since: float) -> list[int]:
    """The most of these generators that were at work one within the other, outermost first."""
    stacks: dict[int, list[int]] = {}
    deepest: list[int] = []
    for at, number, call, thread in calls:
        stack = stacks.setdefault(thread, [])
        if call:
            stack.append(number)
            nested = list(dict.fromkeys(n for n in stack if n in generators))
            deepest = max(deepest, nested, key=len) if at > since else deepest
        elif number in stack:
            del stack[len(stack) - 1 - stack[::-1].index(number) :]
    return deepest


def _accepts(path: str, name: str) -> bool:
    return path.startswith(ACCEPT[0]) and name.endswith(ACCEPT[1])


async def terminal(folder: Path, environment: dict[str, str]) -> Times:
    """`pastiche chat`, its story typed after an idle moment."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bot", "chat"),
        env=os.environ | {
            **environment,
            "PASTICHE_HOME": str(folder / "home"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "PASTICHE_BACKEND": "echo",
        },
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    await asyncio.sleep(10)  # it says nothing to a pipe when it is ready
    asked = time.monotonic()
    await asyncio.wait_for(process.communicate(b"/story It rained.\n"), 60)
    return asked, time.monotonic()


async def discord(folder: Path, environment: dict[str, str]) -> Times:
    """The slash command."""
    from discord_program import Program, served

    Program.anew = True

    async with served(folder, **environment) as (program, people):
        await asyncio.sleep(IDLE_SECONDS)
        asked = time.monotonic()
        interaction = await people.slash("story", text="It rained.")
        await people.discord.wait(
            lambda: any("AI-generated" in m.content for m in interaction.brought), 60
        )
        answered = time.monotonic()
        await program.stop()
    return asked, answered


async def telegram(folder: Path, environment: dict[str, str]) -> Times:
    """The command in a private chat."""
    from telegram_program import Program
    from telegram_server import TelegramServer

    Program.anew = True

    async with TelegramServer() as server, Program(folder, server, **environment) as program:
        server.private(7)
        await asyncio.sleep(IDLE_SECONDS)
        asked = time.monotonic()
        server.say("/story It rained.", 7, 7)
        await server.answer_in(7, "AI-generated", 60)
        answered = time.monotonic()
        await program.end()
    return asked, answered

"""Telegram's whole way, `pastiche serve` and a loopback Bot API: a flood, a rush, and a long queue."""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Figure, clock, percentile

sys.path.append(str(Path(__file__).parents[1]))  # the servers stand beside the tests

PEOPLE = 20
RUSH = 1000
LATER = 40
FLOOD_PAUSE = 0.05  # seconds
SHORT = "/story It rained."
LONG = "/story a ::slow:: b c d e f g h i j k l m n o p q r s t u v w x y z"


def run(folder: Path) -> list[Figure]:
    """Acknowledged: the first call of the bot in that chat."""
    with clock() as taken:
        alone, flooded, rush, acks = asyncio.run(_measure(folder))
    ratio = percentile(flooded, 0.95) / percentile(alone, 0.95)
    return [
        Figure(
            name="answer p95 without a flood",
            value=percentile(alone, 0.95),
            unit="s",
            wall_seconds=taken.wall,
            cpu_seconds=taken.cpu,
        ),
        Figure(name="with a flood over without", value=ratio, unit="times", against="aim 1.5"),
        Figure(name=f"{RUSH} at once all acknowledged after", value=rush, unit="s"),
        Figure(
            name=f"acknowledged with {RUSH} queued, p99",
            value=1000 * percentile(acks, 0.99),
            unit="ms",
            against="aim 1000 ms",
        ),
    ]


async def _measure(folder: Path) -> tuple[list[float], list[float], float, list[float]]:
    from telegram_program import Program
    from telegram_server import TelegramServer

    Program.anew = True

    quotas = {"PASTICHE_ASKER_WAITING": "4", "PASTICHE_ASKER_BURST": "30"}
    async with TelegramServer() as server:
        settings = {"PASTICHE_LOG_LEVEL": "INFO", "PASTICHE_MAX_WAITING": "2000", **quotas}
        async with Program(folder, server, **settings):
            alone = [await _answer(server, 1000 + n) for n in range(PEOPLE)]
            flood = asyncio.create_task(_flood(server))
            flooded = [await _answer(server, 2000 + n) for n in range(PEOPLE)]
            flood.cancel()
            began = time.monotonic()
            for user in range(10_000, 10_000 + RUSH):
                server.say(LONG, server.private(user), user)
            asked = set(range(10_000, 10_000 + RUSH))
            await server.until(lambda: asked <= {c.chat for c in server.calls}, 300)
            rush = time.monotonic() - began
            acks = [await _acknowledged(server, 20_000 + n) for n in range(LATER)]
    return alone, flooded, rush, acks


async def _answer(server: Any, user: int) -> float:
    began = time.monotonic()
    server.say(SHORT, server.private(user), user)
    await server.answer_in(user, "AI-generated", 120)
    return time.monotonic() - began


async def _acknowledged(server: Any, user: int) -> float:
    began = time.monotonic()
    server.say(SHORT, server.private(user), user)
    await server.until(lambda: any(c.chat == user for c in server.calls), 120)
    await asyncio.sleep(0.1)
    return min(c.at for c in server.calls if c.chat == user) - began


async def _flood(server: Any) -> None:
    server.private(99)
    while True:
        server.say(SHORT, 99, 99)
        await asyncio.sleep(FLOOD_PAUSE)

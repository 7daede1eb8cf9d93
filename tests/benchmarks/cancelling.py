"""How soon a cancel of a running answer is acknowledged, and how soon the answer has ended."""

import asyncio
import time
from pathlib import Path

from engine.plan.job import Request
from engine.process.bootstrap import open_engine
from engine.settings import Settings
from tests.benchmarks.figures import Figure, clock, middle, percentile
from tests.following import events_of

TIMES = 40


def run(folder: Path) -> list[Figure]:
    """Milliseconds; the echo backend looks for a stop every 20 ms."""
    settings = Settings(home=folder / "home", backend="echo", key_file=folder / "key")
    with clock() as taken:
        acknowledged, ended = asyncio.run(_measure(settings))
    return [
        Figure(
            name="cancel acknowledged, p99",
            value=percentile(acknowledged, 0.99),
            unit="ms",
            against="aim 200 ms",
            wall_seconds=taken.wall,
            cpu_seconds=taken.cpu,
        ),
        Figure(name="answer ended, p50", value=middle(ended), unit="ms", against="next token"),
        Figure(name="answer ended, p99", value=percentile(ended, 0.99), unit="ms"),
    ]


async def _measure(settings: Settings) -> tuple[list[float], list[float]]:
    acknowledged, ended = [], []
    async with open_engine(settings) as engine:
        for number in range(TIMES):
            request = Request(
                command="story",
                text=f"Number {number} ::slow:: and on.",
                platform="bench",
                asker="bench",
                place="bench",
            )
            began = 0.0
            async for event in events_of(engine, request):
                if event.kind == "text":
                    began = time.perf_counter()
                    await engine.cancel(event.job)
                    acknowledged.append(1000 * (time.perf_counter() - began))
                if event.kind == "cancelled":
                    ended.append(1000 * (time.perf_counter() - began))
    return acknowledged, ended

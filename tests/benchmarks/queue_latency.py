"""From the ask to the first sign of work: an idle, real worker process with the echo backend."""

import asyncio
import time
from pathlib import Path

from engine.plan.job import Request
from engine.process.bootstrap import open_engine
from engine.settings import Settings
from tests.benchmarks.figures import Figure, clock, middle, percentile
from tests.following import events_of

ASKS = 300
WARM_UP = 20


def run(folder: Path) -> list[Figure]:
    """Milliseconds, median and 99th percentile, one ask after the other."""
    settings = Settings(home=folder / "home", backend="echo", key_file=folder / "key")
    with clock() as taken:
        asked, accepted = asyncio.run(_measure(settings))
    spent = {"wall_seconds": taken.wall, "cpu_seconds": taken.cpu}
    return [
        Figure(
            name="accepted to started, p50",
            value=middle(accepted),
            unit="ms",
            against="aim 5 ms",
            **spent,
        ),
        Figure(
            name="accepted to started, p99",
            value=percentile(accepted, 0.99),
            unit="ms",
            against="aim 15 ms",
        ),
        Figure(
            name="asked to started, p50", value=middle(asked), unit="ms", against="commit included"
        ),
        Figure(name="asked to started, p99", value=percentile(asked, 0.99), unit="ms"),
    ]


async def _measure(settings: Settings) -> tuple[list[float], list[float]]:
    asked, accepted = [], []
    async with open_engine(settings) as engine:
        for number in range(WARM_UP + ASKS):
            request = Request(
                command="story",
                text=f"Number {number}.",
                platform="bench",
                asker="bench",
                place="bench",
            )
            began, committed = time.perf_counter(), 0.0
            async for event in events_of(engine, request):
                now = time.perf_counter()
                if event.kind == "queued":
                    committed = now
                if event.kind == "started" and number >= WARM_UP:
                    asked.append(1000 * (now - began))
                    accepted.append(1000 * (now - committed))
    return asked, accepted

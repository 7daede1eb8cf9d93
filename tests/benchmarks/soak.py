"""Many echo jobs through one process and its worker: does memory grow, do descriptors?"""

import argparse
import asyncio
import os
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil

from engine.events import is_final
from engine.ledger.storage import upgrade
from engine.plan.job import Request
from engine.process.bootstrap import open_engine
from engine.settings import Settings
from tests import postgres
from tests.benchmarks.figures import Figure, clock
from tests.following import events_of

OPTIONS = argparse.ArgumentParser(prog="soak", description=__doc__)
OPTIONS.add_argument("--jobs", type=int, default=1000, help="the long form has 20000 (1000)")
OPTIONS.add_argument("--database", choices=("sqlite", "postgres"), default="sqlite")
OPTIONS.add_argument("--at-once", type=int, default=8)
SETTLED = 0.25  # memory is compared with what it was after this share of the jobs


def run(folder: Path, options: argparse.Namespace) -> list[Figure]:
    """Growth in per cent of the resident memory, and of descriptors by number."""
    with ExitStack() as stack:
        address = ""
        if options.database == "postgres":
            server = stack.enter_context(postgres.running(synced=True))
            address = server.url(server.create())
        settings = Settings(
            home=folder / "home", key_file=folder / "key", backend="echo", database_url=address
        )
        upgrade(settings)
        with clock() as taken:
            settled, end = asyncio.run(_soak(settings, options))
    figures = [
        Figure(
            name=f"{options.jobs} jobs on {options.database}",
            value=options.jobs / taken.wall,
            unit="jobs/s",
            wall_seconds=taken.wall,
            cpu_seconds=taken.cpu,
        )
    ]
    for who in end:
        memory, descriptors = settled[who]
        figures += [
            Figure(
                name=f"memory of the {who}",
                value=100 * (end[who][0] / memory - 1),
                unit="% more",
                against=f"from {memory / 1e6:.0f} MB; aim 5 %",
            ),
            Figure(
                name=f"descriptors of the {who}",
                value=end[who][1] - descriptors,
                unit="more",
                against=f"from {descriptors}; aim 0",
            ),
        ]
    return figures


Sizes = dict[str, tuple[int, int]]  # resident bytes and open descriptors


async def _soak(settings: Settings, options: argparse.Namespace) -> tuple[Sizes, Sizes]:
    done = 0
    settled: Sizes = {}
    numbers = iter(range(options.jobs))
    async with open_engine(settings) as engine:

        async def asker(name: int) -> None:
            nonlocal done, settled
            for number in numbers:
                request = Request(
                    command="story",
                    text=f"Number {number}.",
                    platform="bench",
                    asker=f"asker {name}",
                    place=f"place {name}",
                )
                async for event in events_of(engine, request):
                    if is_final(event):
                        await engine.delivered(event.job)
                done += 1
                if done == int(options.jobs * SETTLED):
                    settled = sizes()

        await asyncio.gather(*(asker(name) for name in range(options.at_once)))
        return settled, sizes()


def sizes() -> Sizes:
    """Of this process and its worker."""
    here = psutil.Process(os.getpid())
    workers = []
    for child in here.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # one that was only passing
            if "engine.workers.worker" in " ".join(child.cmdline()):
                workers.append(child)
    named = {"process that asks": here, **({"worker": workers[0]} if workers else {})}
    return {name: (p.memory_info().rss, p.num_fds()) for name, p in named.items()}

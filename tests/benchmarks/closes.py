"""The database is cut off, frozen or stopped at random moments, and then `serve`, `worker` or the queue
in a process must leave: within 5 s beyond the grace. The short form is tests/test_shutdown.py."""

import argparse
import asyncio
import logging
import random
import sys
from contextlib import closing
from pathlib import Path

from engine.ledger.storage import upgrade
from engine.settings import Settings
from tests.benchmarks.figures import Figure, clock, percentile

sys.path.append(str(Path(__file__).parents[1]))  # the servers stand beside the tests

import postgres
from closings import FAULTS, KINDS, SPARE_SECONDS, Closings, Moment

OPTIONS = argparse.ArgumentParser(prog="closes", description=__doc__)
OPTIONS.add_argument("--times", type=int, default=30, help="closes (30)")
OPTIONS.add_argument("--kind", choices=KINDS, help="this kind only")
OPTIONS.add_argument("--seed", type=int, default=1)
READY_SHARE = 0.8  # had come up before; the others are met while they start

log = logging.getLogger(__name__)


def run(folder: Path, options: argparse.Namespace) -> list[Figure]:
    """Counts, and the longest."""
    with postgres.running() as server, clock() as taken:
        settings = Settings(
            home=folder / "home",
            key_file=folder / "key",
            backend="echo",
            database_url=server.url(server.create()),
        )
        upgrade(settings)
        with closing(Closings(folder, server, settings)) as closings:
            took = asyncio.run(_all(closings, options))
            left = closings.left_behind
    late = sum(seconds > SPARE_SECONDS for _, seconds in took)
    figures = [
        Figure(
            name="closes",
            value=len(took),
            unit="",
            against=f"seed {options.seed}",
            wall_seconds=taken.wall,
            cpu_seconds=taken.cpu,
        ),
        Figure(name="beyond the limit", value=late, unit="", against=f"{SPARE_SECONDS:g} s; aim 0"),
        Figure(name="lines of what was left behind", value=left, unit=""),
    ]
    for kind in sorted({moment.kind for moment, _ in took}):
        seconds = [s for moment, s in took if moment.kind == kind]
        middle = f"median {percentile(seconds, 0.5):.2f} s of {len(seconds)}"
        figures.append(
            Figure(name=f"longest, {kind}", value=max(seconds), unit="s", against=middle)
        )
    return figures


async def _all(closings: Closings, options: argparse.Namespace) -> list[tuple[Moment, float]]:
    draw, took = random.Random(options.seed), []
    for _ in range(options.times):
        kind = draw.choice(KINDS) if options.kind is None else options.kind
        moment = Moment(
            kind=kind,
            fault=draw.choice(FAULTS),
            before=draw.uniform(0, 3),
            ready=draw.random() < READY_SHARE,
            after=draw.choice((0.0, draw.uniform(0, 4))),
        )
        seconds = await closings.of(moment)
        took.append((moment, seconds))
        if seconds > SPARE_SECONDS:
            log.warning("%s: %.1f s", moment, seconds)
    return took

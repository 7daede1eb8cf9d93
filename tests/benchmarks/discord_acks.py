"""How soon a Discord command is acknowledged, over the wire, with a thousand jobs in the queue."""

import asyncio
import sys
from pathlib import Path

from tests.benchmarks.figures import Figure, clock, middle, percentile

sys.path.insert(0, str(Path(__file__).parents[1]))  # the loopback Discord lies beside the tests

QUEUED = 1000
ASKED = 200


def run(folder: Path) -> list[Figure]:
    """Milliseconds from Discord's event to our callback; Discord itself gives up after 3000."""
    with clock() as taken:
        quiet, full = asyncio.run(_measure(folder))
    against = {"against": "aim 1000 ms"}
    return [
        Figure(
            name=f"ack with {QUEUED} queued, p99",
            value=1000 * percentile(full, 0.99),
            unit="ms",
            wall_seconds=taken.wall,
            cpu_seconds=taken.cpu,
            **against,
        ),
        Figure(name=f"ack with {QUEUED} queued, p50", value=1000 * middle(full), unit="ms"),
        Figure(
            name="ack with nothing queued, p99", value=1000 * percentile(quiet, 0.99), unit="ms"
        ),
        Figure(name="ack with nothing queued, p50", value=1000 * middle(quiet), unit="ms"),
    ]


async def _measure(folder: Path) -> tuple[list[float], list[float]]:
    from discord_crowd import acknowledgements, queue_up
    from discord_program import Program, served

    Program.anew = True

    async with served(folder, PASTICHE_MAX_WAITING="5000") as (_, people):
        quiet = await acknowledgements(people, ASKED)
        await queue_up(people, QUEUED)
        return quiet, await acknowledgements(people, ASKED)

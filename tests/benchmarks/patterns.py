"""How long the slowest patterns and functions take on texts that are made to be hard for them.

Each is timed at 5,000 and at 20,000 characters; after a second of CPU it is stopped.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from pattern_times import FLOOR, Timing, measured

from tests.benchmarks.figures import Figure, clock

TEXTS_EACH, SLOWEST, SECONDS = 200, 24, 1500


def run(_folder: Path) -> list[Figure]:
    """CPU milliseconds, the slowest first, and all that grow faster than their text."""
    with clock() as taken:
        timings = measured(texts_each=TEXTS_EACH, seconds=SECONDS)
    timings.sort(key=lambda one: -one.long)
    shown = [one for n, one in enumerate(timings) if n < SLOWEST or not one.linear]
    return [_figure(one, taken.wall, taken.cpu) for one in shown]


def _figure(one: Timing, wall: float, cpu: float) -> Figure:
    growth = one.long / one.short if one.short else 4.0
    return Figure(
        name=f"{one.place}, 20,000 characters",
        value=one.long,
        unit="ms",
        against=f"{one.short:.2g} ms at 5,000: {growth:.1f} times (limit 5, or {FLOOR:.0f} ms)",
        wall_seconds=wall,
        cpu_seconds=cpu,
    )

"""A measured figure, and the clock that takes it."""

import json
import math
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """`against` says what it is compared with: an aim, or another way measured in the same run."""

    name: str
    value: float
    unit: str
    against: str = ""
    wall_seconds: float = 0.0
    cpu_seconds: float = 0.0


@dataclass(slots=True)
class Clock:
    """Wall and process-CPU seconds of what ran within."""

    wall: float = 0.0
    cpu: float = 0.0


@contextmanager
def clock() -> Iterator[Clock]:
    """Both clocks around a block."""
    taken = Clock()
    wall, cpu = time.perf_counter(), time.process_time()
    yield taken
    taken.wall, taken.cpu = time.perf_counter() - wall, time.process_time() - cpu


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of the values do not exceed (nearest rank)."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def middle(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def write(benchmark: str, figures: list[Figure]) -> Path:
    """One JSON file for each benchmark."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{benchmark}.json"
    path.write_text(json.dumps([asdict(f) for f in figures], indent=1) + "\n", encoding="utf-8")
    return path

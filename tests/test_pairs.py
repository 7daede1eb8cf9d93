"""Jobs that meet are what they are alone, in short; the long form: python -m tests.benchmarks pairs."""

import random
from pathlib import Path

import pytest
from job_pairs import differences, draw_pair, registry_of, settings_for
from tiny_layouts import shared_layouts

NAMES = ("moss", "fern", "reed")


@pytest.mark.parametrize(
    "layout, way, count",
    [
        ("llama", "mixing fp32", 4),
        ("gemma2", "mixing fp32", 3),
        ("gemma3", "mixing fp32", 2),
        ("gemma2", "peft", 1),
        ("llama", "server", 12),
    ],
)
def test_two_jobs_that_meet_write_what_each_writes_alone(
    tmp_path: Path, layout: str, way: str, count: int
) -> None:
    root = shared_layouts((layout,))
    adapters = {name: root / f"{layout}-{name}" for name in NAMES}
    registry = registry_of(tmp_path / "experts", root / layout, adapters)
    draw = random.Random(598)  # its first pairs are of a base and its expert, cold and warm
    pairs = [draw_pair(draw, number, NAMES) for number in range(count)]
    assert differences(settings_for(tmp_path / "home", way), registry, pairs) == []

"""The capacity model against queueing theory."""

import pytest

from tests.benchmarks.capacity import A100_PICTURE, A100_TEXT, LAPTOP, plan
from tests.benchmarks.capacity_model import (
    Load,
    Painter,
    Writer,
    erlang_c,
    fewest,
    simulate_pictures,
    simulate_texts,
)

ONE_BY_ONE = Writer(name="serial", points=((1, 100.0),), hourly=0.0, source="a test")


def load(a_second: float, **changes: float) -> Load:
    """So many requests a second in the busiest hour."""
    return Load(a_day=a_second * 3600 / 0.075, **{"pictures": 0.5, **changes})


def test_pictures_wait_as_long_as_pollaczek_and_khinchine_say() -> None:
    """M/D/1: mean wait = rho * service / (2 (1 - rho))."""
    painter = Painter(name="p", seconds=2.0, hourly=0.0, source="a test")
    waits = simulate_pictures(load(0.8), painter, 1, requests=30_000)
    assert sum(waits.queue) / len(waits.queue) == pytest.approx(0.8 * 2.0 / (2 * 0.2), rel=0.1)


def test_serial_texts_of_one_length_wait_as_pictures_do() -> None:
    waits = simulate_texts(load(0.8, tokens=200.0, spread=0.0), ONE_BY_ONE, 1, requests=30_000)
    assert sum(waits.queue) / len(waits.queue) == pytest.approx(4.0, rel=0.1)


def test_texts_that_share_a_worker_end_as_processor_sharing_says() -> None:
    """M/G/1 processor sharing: mean time = service / (1 - rho), whatever the lengths' spread."""
    sharing = Writer(name="s", points=((1, 100.0), (10_000, 100.0)), hourly=0.0, source="a test")
    for spread in (0.0, 0.8):
        asked = load(0.5, tokens=280.0, spread=spread)
        waits = simulate_texts(asked, sharing, 1, requests=30_000)
        rho = 0.5 * 0.5 * 2.8
        assert max(waits.queue) == 0.0
        assert sum(waits.whole) / len(waits.whole) == pytest.approx(2.8 / (1 - rho), rel=0.1)


def test_erlangs_formula_gives_its_tables() -> None:
    assert erlang_c(0.5, 1.0, 1) == pytest.approx(0.5)
    assert erlang_c(8.0, 1.0, 10) == pytest.approx(0.4092, abs=1e-3)
    assert erlang_c(3.0, 1.0, 2) == 1.0


def test_nobody_is_lost_and_no_text_is_faster_than_alone() -> None:
    waits = simulate_texts(load(3.0, spread=0.0), LAPTOP, 2, requests=3_000)
    assert len(waits.queue) == len(waits.whole) == 3_000
    assert min(waits.whole) >= 250 / (LAPTOP.points[1][1] / 2) - 1e-6


def test_the_fewest_workers_are_the_fewest() -> None:
    assert fewest(1, lambda n: n >= 37) == 37
    assert fewest(5, lambda n: n >= 2) == 5


def test_more_askers_need_no_fewer_workers() -> None:
    few = plan(Load(a_day=50_000), A100_TEXT, A100_PICTURE, requests=3_000)
    many = plan(Load(a_day=2_000_000), A100_TEXT, A100_PICTURE, requests=3_000)
    assert many.writers >= few.writers
    assert many.painters > few.painters
    assert many.notifies > few.notifies

"""Order, rate and draws follow from seed and step alone."""

from hypothesis import given
from hypothesis import strategies as st

from training.run.schedule import blocks_of_step, draw_key, learning_rate, steps_in
from training.run.tables import Training


@given(st.integers(1, 40), st.integers(1, 8))
def test_an_epoch_shows_every_block_once(count: int, size: int) -> None:
    shown = [b for step in range(count) for b in blocks_of_step(1, step, size, count)]
    for epoch in range(size):
        assert sorted(shown[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_each_epoch_has_an_order_of_its_own() -> None:
    first, second = (blocks_of_step(1, step, 30, 30) for step in (0, 1))
    assert sorted(first) == sorted(second) and first != second


def test_draws_differ_by_seed_step_and_part() -> None:
    keys = {draw_key(*key) for key in ((1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1))}
    assert len(keys) == 4


def test_the_rate_warms_up_and_falls_to_its_floor() -> None:
    rates = [
        learning_rate(Training(learning_rate=1.0, floor=0.1), step, 100) for step in range(100)
    ]
    assert rates[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert max(rates) == 1.0 and 0.1 <= rates[-1] < 0.102
    linear = Training(learning_rate=1.0, schedule="linear", floor=0.0)
    assert learning_rate(linear, 99, 100) < 0.02
    constant = Training(learning_rate=1.0, schedule="constant", warmup_share=0)
    assert {learning_rate(constant, step, 9) for step in range(9)} == {1.0}


def test_blocks_win_over_epochs_and_several_processes_share_them() -> None:
    assert steps_in(Training(batch=1, accumulate=2, blocks=600), 587) == 300
    assert steps_in(Training(batch=2, accumulate=4, epochs=2), 100) == 25
    assert steps_in(Training(batch=2, accumulate=4, epochs=2), 100, processes=5) == 5

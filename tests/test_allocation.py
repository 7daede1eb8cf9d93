"""Which arm a unit gets: repeatable, even, and by nobody's guess."""

import os
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from engine.study.experiments.allocation import block_of, blocked, shuffled, simple

KEYS = st.binary(min_size=32, max_size=32)
WEIGHTS = st.dictionaries(
    st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.integers(1, 5), min_size=1, max_size=4
)


@given(KEYS, WEIGHTS, st.text(max_size=20))
def test_a_unit_gets_the_same_arm_whenever_it_is_asked(key, weights, unit) -> None:
    arm = simple(key, "e", unit, weights)
    assert arm in weights and arm == simple(key, "e", unit, dict(weights))


@given(KEYS, WEIGHTS, st.integers(0, 500))
def test_every_block_holds_each_arm_as_its_weight_says(key, weights, block) -> None:
    size = len(block_of(weights))
    got = [blocked(key, "e", block * size + n, weights) for n in range(size)]
    assert {number for _, number in got} == {block}
    assert Counter(arm for arm, _ in got) == Counter(block_of(weights))


def test_simple_allocation_follows_the_weights_and_experiments_are_independent() -> None:
    key, weights = os.urandom(32), {"base": 1, "lora": 3}
    units = [f"unit {n}" for n in range(4000)]
    one = [simple(key, "one", unit, weights) for unit in units]
    two = [simple(key, "two", unit, weights) for unit in units]
    assert 900 < one.count("base") < 1100
    both = sum(a == b == "base" for a, b in zip(one, two, strict=True))
    assert 180 < both < 320, "a quarter of a quarter, not all"


def test_another_key_gives_another_allocation() -> None:
    weights = {"a": 1, "b": 1}
    mine, yours = os.urandom(32), os.urandom(32)
    arms = [[blocked(key, "e", n, weights)[0] for n in range(64)] for key in (mine, yours)]
    assert arms[0] != arms[1]


def test_blocks_of_two_arms_do_not_tell_the_next_one() -> None:
    key, weights = os.urandom(32), {"a": 1, "b": 1}
    arms = "".join(blocked(key, "e", n, weights)[0] for n in range(400))
    assert {arms[n : n + 2] for n in range(0, 400, 4)} == {"aa", "ab", "ba", "bb"}


@given(KEYS, st.lists(st.integers(), max_size=10))
def test_a_shuffle_loses_and_adds_nothing(key, things) -> None:
    assert Counter(shuffled(key, "n", things)) == Counter(things)

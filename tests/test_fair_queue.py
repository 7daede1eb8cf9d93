"""Fair turns: whoever asks for little does not wait for whoever asks for much."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from engine.queues.fair_queue import FairQueue, QueuedJob

ASKERS = "abc"
# "a" to "c": that asker asks for something; "+": a worker takes the next one
histories = st.lists(st.sampled_from([*ASKERS, "+"]), max_size=60)


def entry(asker: str, number: int) -> QueuedJob:
    return QueuedJob(
        job=SimpleNamespace(alone=False, id=number), accepted_at=float(number), asker=asker
    )


def taken(history: list[str]) -> list[tuple[int, QueuedJob, set[str]]]:
    """(when, what was begun, who was left waiting), everything taken in the end."""
    line, free = FairQueue(), SimpleNamespace(running={}, slots=1)
    begun = []
    for when, what in enumerate([*history, *"+" * len(history)]):
        if what != "+":
            line.add(entry(what, when))
        elif next_one := line.take(free):
            begun.append((when, next_one, {other.asker for other in line}))
    return begun


@given(histories)
def test_everything_is_begun_once_and_each_askers_own_in_order(history: list[str]) -> None:
    begun = [one for _, one, _ in taken(history)]
    assert sorted(one.job.id for one in begun) == [i for i, c in enumerate(history) if c != "+"]
    for asker in ASKERS:
        own = [one.job.id for one in begun if one.asker == asker]
        assert own == sorted(own)


@given(histories)
def test_nobody_is_passed_twice_by_the_same_other_asker(history: list[str]) -> None:
    """While somebody has something waiting, another begins at most one more than they do, and one."""
    begun = taken(history)
    for asker in ASKERS:
        passed: dict[str, int] = {}
        for _, one, waiting in begun:
            if one.asker == asker or asker not in waiting:
                passed.clear()
                continue
            passed[one.asker] = passed.get(one.asker, 0) + 1
            assert passed[one.asker] <= 2


def test_one_request_beside_a_hundred_comes_next() -> None:
    line, free = FairQueue(), SimpleNamespace(running={}, slots=1)
    for number in range(100):
        line.add(entry("flood", number))
    assert line.take(free).asker == "flood"
    line.add(entry("guest", 100))
    assert line.take(free).asker == "guest"


def test_what_was_handed_back_keeps_its_turn() -> None:
    line, free = FairQueue(), SimpleNamespace(running={}, slots=1)
    line.add(entry("a", 1))
    line.add(entry("b", 2))
    first = line.take(free)
    line.add(first, first=True)
    assert line.take(free) is first

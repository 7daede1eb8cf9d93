"""Captions by the Batch API on loopback: half the price, nothing sent twice, nothing left there."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some
from openai_server import Reply, service_of
from test_caption import caption, captions, journal, make_data, no_keys, recipe_file

from training.caption import main
from training.captioning.batch_api import ENDPOINT, MOST_BYTES, MOST_REQUESTS, shards
from training.errors import BadRecipe, NotAllowed, SourceFault, TrainingError

__all__ = ["no_keys"]  # a fixture that pytest finds by its name


def state(runs: Path) -> list[dict[str, object]]:
    """The batches under way."""
    path = runs / "crowns" / "data" / "captions" / "batches.json"
    found: list[dict[str, object]] = json.loads(path.read_text())
    return found


def test_a_batch_is_sent_waited_for_and_collected_at_half_the_price(tmp_path: Path) -> None:
    make_data(tmp_path)
    with service_of() as service:
        caption(tmp_path, service, batch=True, poll=0.01)
        (batch,) = service.batches.values()
        lines = [json.loads(line) for line in service.files["file-1"].splitlines()]
        assert batch["endpoint"] == ENDPOINT and batch["completion_window"] == "24h"
        assert {line["url"] for line in lines} == {ENDPOINT} and len(lines) == 4
        assert len({line["custom_id"] for line in lines}) == 4
        assert set(service.deleted) == {"file-1", "batch_1-output_file_id"}
    assert [row["file_name"][-5] for row in captions(tmp_path)] == ["1", "2", "3", "4"]
    each = (1100 * 1.0 + 120 * 4.0) / 1e6
    assert [row["dollars"] for row in journal(tmp_path)] == [pytest.approx(each)] * 4
    assert state(tmp_path) == []


def test_a_batch_left_alone_is_collected_by_a_later_run_and_not_sent_again(tmp_path: Path) -> None:
    make_data(tmp_path)
    with service_of() as service:
        caption(tmp_path, service, batch=True, poll=0)
        assert len(state(tmp_path)) == 1
        caption(tmp_path, service, batch=True, poll=0)
        assert len(service.batches) == 1 and len(service.asked) == 0
        caption(tmp_path, service, batch=True, poll=0)
        assert len(captions(tmp_path)) == 4 and state(tmp_path) == []
        caption(tmp_path, service, batch=True, poll=0.01)
        caption(tmp_path, service)
        assert len(service.batches) == 1 and len(service.asked) == 4


def test_a_batch_whose_number_was_lost_is_found_by_its_mark(tmp_path: Path) -> None:
    make_data(tmp_path)
    with service_of(die_after_create=True) as service:
        with pytest.raises(TrainingError):
            caption(tmp_path, service, batch=True, poll=0)
        assert state(tmp_path)[0]["batch"] == ""
        caption(tmp_path, service, batch=True, poll=0.01)
        assert len(service.batches) == 1
    assert len(captions(tmp_path)) == 4


def test_a_batch_that_never_came_to_be_is_sent_again(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    with service_of() as service:
        (data / "captions").mkdir()
        lost = [{"mark": "m", "keys": ["k"], "batch": ""}]
        (data / "captions" / "batches.json").write_text(json.dumps(lost))
        caption(tmp_path, service, batch=True, poll=0.01)
        assert len(service.batches) == 1
    assert len(captions(tmp_path)) == 4


def test_bad_lines_of_a_batch_are_noted_and_late_ones_sent_again(tmp_path: Path) -> None:
    make_data(tmp_path)
    bad = [Reply(status=400, error={"message": "invalid image"})]
    replies = {"1802": bad, "1803": [Reply(refusal="no")]}
    with service_of(replies=replies, batch_status="expired") as service:
        caption(tmp_path, service, batch=True, poll=0.01)
        outcomes = sorted(row["outcome"] for row in journal(tmp_path))
        assert outcomes == ["failed", "ok", "refused"]  # and one that came too late
        service.batch_status = "completed"
        caption(tmp_path, service, batch=True, poll=0.01)
        assert len(service.files["file-2"].splitlines()) == 1
    assert len(captions(tmp_path)) == 2


def test_a_batch_that_is_refused_is_told_and_forgotten(tmp_path: Path) -> None:
    make_data(tmp_path)
    told = pytest.raises(SourceFault, match="a line is too long")
    with service_of(batch_status="failed") as service, told:
        caption(tmp_path, service, batch=True, poll=0.01)
    assert state(tmp_path) == []


def test_the_limit_holds_back_what_a_batch_could_cost(tmp_path: Path) -> None:
    make_data(tmp_path)
    with service_of() as service:
        with pytest.raises(TrainingError, match="2 of 4"):
            caption(tmp_path, service, batch=True, poll=0.01, max_usd=0.0085)
        assert len(service.files["file-1"].splitlines()) == 2
        with pytest.raises(NotAllowed, match="--yes"):
            caption(tmp_path, service, batch=True, yes=False)
        assert len(service.batches) == 1


def test_only_the_service_has_batches(tmp_path: Path) -> None:
    make_data(tmp_path)
    path = recipe_file(tmp_path, "http://127.0.0.1:1/v1")
    with pytest.raises(BadRecipe, match="--batch"):
        main(path, runs=tmp_path, captioner="catalogue", batch=True)


@given(some.lists(some.integers(0, 60), max_size=40), some.integers(50, 100), some.integers(1, 7))
def test_shards_keep_order_and_both_limits(sizes: list[int], most: int, number: int) -> None:
    lines = [(str(n), b"x" * size) for n, size in enumerate(sizes)]
    cut = list(shards(lines, most, number))
    assert [line for shard in cut for line in shard] == lines
    for shard in cut:
        assert 1 <= len(shard) <= number
        assert sum(len(line) for _, line in shard) <= most or len(shard) == 1


def test_the_limits_are_openai_s() -> None:
    assert MOST_BYTES <= 200_000_000 and MOST_REQUESTS <= 50_000

"""The museum's texts and pictures go together after four weeks; ids, addresses, hashes stay."""

import json
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import typer
from test_harvest import recipe_file, rows_of, run_of
from test_harvest_faults import command, pictures_on_disk
from vam_server import Fault, Piece, museum_of

from training.errors import BadCorpus, SourceFault
from training.harvest_vam import Action, main
from training.museum.harvester import ANSWERS, DATA, JOURNAL
from training.museum.metadata_rows import CAPTIONS, LASTING, LOCK, RIGHTS, read_rows
from training.museum.retention import prune, prune_all
from training.purge import WATCH, next_due, wait_and_purge
from training.run.expiry import guard
from training.run.json_lines import write_lines

DAY = 86400.0
FOUR = tuple(Piece(number) for number in range(1, 5))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A harvested data folder of four pictures."""
    with museum_of(*FOUR) as museum:
        run_of(tmp_path, museum)
    return tmp_path / "crowns" / DATA


def test_nothing_goes_before_its_time(data: Path) -> None:
    assert prune(data, time.time() + 27.9 * DAY) == 0
    assert len(list((data / "images").iterdir())) == 4


def test_pictures_and_texts_go_together_and_the_rest_stays(data: Path, tmp_path: Path) -> None:
    before, lock = rows_of(tmp_path), (data / LOCK).read_bytes()
    assert prune(data, time.time() + 28.1 * DAY) == 4
    rows = rows_of(tmp_path)
    assert list((data / "images").iterdir()) == [] and (data / LOCK).read_bytes() == lock
    assert [row["sha256"] for row in rows] == [row["sha256"] for row in before]
    assert {key for row in rows for key in row} == {*LASTING, "text", "pruned"}
    left = "".join(path.read_text() for path in data.rglob("*") if path.is_file())
    for words in ("Made-up", "filigree", "Given by", "ca. 1830", "pearl"):
        assert words not in left, words
    assert prune(data, time.time() + 40 * DAY) == 0


def test_no_text_of_the_museum_s_is_left_in_the_whole_run(tmp_path: Path, data: Path) -> None:
    later = time.time() + 29 * DAY
    from training.run.expiry import purge

    prune_all(tmp_path, later)
    assert tmp_path / "crowns" / ANSWERS in purge(tmp_path, later)
    left = b"".join(
        path.read_bytes() for path in (tmp_path / "crowns").rglob("*") if path.is_file()
    )
    assert b"Made-up words" not in left and b"Given by" not in left and b"\xff\xd8\xff" not in left
    assert (tmp_path / "crowns" / JOURNAL).exists()


def test_captions_in_the_museum_s_words_go_and_a_model_s_own_stay(data: Path) -> None:
    names = [f"images/{piece.image_id}.jpg" for piece in FOUR[:2]]
    rows = [
        {"file_name": names[0], "caption": "the museum's words", "captioner": "catalogue"},
        {"file_name": names[1], "caption": "a model's words", "captioner": "openai"},
    ]
    write_lines(data / CAPTIONS, rows)
    prune(data, time.time() + 29 * DAY)
    assert [row["file_name"] for row in read_rows(data / CAPTIONS)] == [names[1]]


def test_pictures_without_a_line_go_too(data: Path) -> None:
    (data / "metadata.jsonl").unlink()  # a harvest that was broken off
    old = data / "images" / "half.jpg.part"
    old.write_bytes(b"\xff\xd8")
    os.utime(old, (0, 0))
    assert prune(data, time.time()) == 1
    assert prune(data, time.time() + 29 * DAY) == 4


@pytest.mark.parametrize("rights", ["half", "[]", '{"retention_days": "long"}', "{}", None])
def test_without_readable_rights_a_line_s_own_time_counts(data: Path, rights: str | None) -> None:
    (data / RIGHTS).unlink()
    if rights is not None:
        (data / RIGHTS).write_text(rights)
    assert prune_all(data.parent.parent, time.time() + 27 * DAY) == 0
    assert prune_all(data.parent.parent, time.time() + 29 * DAY) == 4


def test_a_line_s_time_that_cannot_be_read_is_over(data: Path, tmp_path: Path) -> None:
    rows = rows_of(tmp_path)
    rows[0]["expires_at"] = "soon"
    write_lines(data / "metadata.jsonl", rows)
    assert prune(data, time.time()) == 1


def test_another_s_folder_of_another_shape_is_let_be(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "data"
    (folder / "images").mkdir(parents=True)
    (folder / RIGHTS).write_text('{"train_allowed": true}')
    (folder / "metadata.jsonl").write_text('{"file": "a.png", "caption": "mine"}\n')
    assert prune_all(tmp_path, 1e12) == 0


def test_a_line_that_leads_out_of_the_folder_deletes_nothing_there(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "thesis.odt").write_bytes(b"mine")
    over = {"expires_at": "2020-01-01"}
    names = ("../thesis.odt", str(tmp_path / "thesis.odt"))
    write_lines(tmp_path / "data/metadata.jsonl", [over | {"file_name": name} for name in names])
    prune(tmp_path / "data", time.time())
    assert (tmp_path / "thesis.odt").exists()


def test_a_folder_among_the_pictures_holds_up_nothing(data: Path) -> None:
    (data / "images" / ".ipynb_checkpoints").mkdir()
    assert prune(data, time.time() + 29 * DAY) == 4
    assert next_due(data) is None


def test_a_folder_without_rights_is_somebody_s_own(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(b"mine")
    assert prune(tmp_path, 1e12) == 0 and (tmp_path / "images" / "a.jpg").exists()


def test_a_harvest_after_the_end_fetches_anew(tmp_path: Path, data: Path) -> None:
    prune(data, time.time() + 29 * DAY)
    with museum_of(*FOUR) as museum:
        outcome = run_of(tmp_path, museum)
        assert len(museum.picture_paths) == 4
    assert len(outcome.rows) == 4 and outcome.rows[0]["text"]


def test_the_waiting_process_prunes_at_the_hour_and_ends(data: Path) -> None:
    now = [time.time()]
    due = next_due(data)

    def sleep(seconds: float) -> None:
        now[0] += seconds

    wait_and_purge(data, lambda: now[0], sleep)
    assert list((data / "images").iterdir()) == []
    assert due is not None and due - 1 <= now[0] <= due + 600


def test_a_process_of_its_own_prunes_when_nobody_else_does(data: Path, tmp_path: Path) -> None:
    soon = datetime.fromtimestamp(time.time() + 1, UTC).isoformat()
    rows = [row | {"expires_at": soon} for row in rows_of(tmp_path)]
    write_lines(data / "metadata.jsonl", rows)
    (data / RIGHTS).unlink()
    guard(data)
    until = time.monotonic() + 60
    while list((data / "images").iterdir()) and time.monotonic() < until:
        time.sleep(0.1)
    assert list((data / "images").iterdir()) == []
    assert {row["text"] for row in rows_of(tmp_path)} == {""}


def test_a_harvest_that_breaks_off_leaves_processes_that_delete_what_came(tmp_path: Path) -> None:
    run, waiting = tmp_path / "crowns", list[psutil.Process]()
    with museum_of(*FOUR, down_after=2) as museum, pytest.raises(SourceFault):
        main(recipe_file(tmp_path, museum), runs=tmp_path)
    try:
        until = time.monotonic() + 60
        while len(waiting) < 2 and time.monotonic() < until:
            ours = (p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"])
            waiting = [
                p for p in ours if p.info["cmdline"][-1] in (f"{run}/data", f"{run}/answers")
            ]
        assert len({process.info["cmdline"][-1] for process in waiting}) == 2
    finally:
        for process in waiting:
            process.kill()


def test_one_waiting_process_is_enough(data: Path) -> None:
    program = (sys.executable, "-m", "training.purge", "--wait", str(data))
    waiting = subprocess.Popen(program)
    try:
        until = time.monotonic() + 60
        while not (data / WATCH).exists() and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(0.1)
        assert subprocess.run(program, timeout=20, check=False).returncode == 0
        assert waiting.poll() is None
    finally:
        waiting.kill()
        waiting.wait()


def test_prune_as_a_command_deletes_what_is_due(tmp_path: Path, data: Path) -> None:
    rows = [row | {"expires_at": "2020-01-01T00:00:00+00:00"} for row in rows_of(tmp_path)]
    write_lines(data / "metadata.jsonl", rows)
    path = tmp_path / "crowns.toml"
    ended = subprocess.run(command(path, "prune"), capture_output=True, text=True, check=False)
    assert "Deleted 4 expired pictures" in ended.stdout, ended.stderr
    assert pictures_on_disk(tmp_path) == []


def verify(tmp_path: Path, museum: Any, offline: bool = False) -> int:
    """The exit status of a verification."""
    try:
        main(recipe_file(tmp_path, museum), Action.VERIFY, runs=tmp_path, offline=offline)
    except typer.Exit as end:
        return end.exit_code
    return 0


def test_verify_asks_by_etag_and_finds_nothing_changed(tmp_path: Path) -> None:
    with museum_of(*FOUR) as museum:
        run_of(tmp_path, museum)
        museum.asked.clear()
        assert verify(tmp_path, museum) == 0
        assert len(museum.picture_paths) == 4
        assert all(heads.get("If-None-Match") for _, heads in museum.asked)


def test_verify_finds_what_was_altered_lost_changed_or_withdrawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with museum_of(*FOUR) as museum:
        run_of(tmp_path, museum)
        first, second = pictures_on_disk(tmp_path)[:2]
        first.write_bytes(b"other")
        second.unlink()
        assert verify(tmp_path, museum, offline=True) == 1
        told = capsys.readouterr().out
        assert f"altered: images/{first.name}" in told and f"missing: images/{second.name}" in told
        museum.pictures[FOUR[2].image_id] = museum.picture("another one")
        museum.faults[museum.picture_path(4)] = [Fault(404)]
        assert verify(tmp_path, museum) == 1
        told = capsys.readouterr().out
    assert f"changed: images/{FOUR[2].image_id}.jpg" in told
    assert f"gone: images/{FOUR[3].image_id}.jpg (404)" in told


def test_verify_tells_what_it_found_though_a_picture_never_comes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with museum_of(*FOUR) as museum:
        run_of(tmp_path, museum)
        pictures_on_disk(tmp_path)[1].unlink()
        museum.faults[museum.picture_path(1)] = [Fault(503)] * 5
        assert verify(tmp_path, museum) == 1
    told = capsys.readouterr().out
    assert f"missing: images/{FOUR[1].image_id}.jpg" in told
    assert f"gone: images/{FOUR[0].image_id}.jpg" in told


def test_verify_knows_an_expired_picture_from_a_lost_one(
    tmp_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prune(data, time.time() + 29 * DAY)
    with museum_of(*FOUR) as museum:
        assert verify(tmp_path, museum, offline=True) == 0
    assert capsys.readouterr().out.count("expired: ") == 4


def test_without_a_lock_there_is_nothing_to_verify(tmp_path: Path) -> None:
    with museum_of(*FOUR) as museum, pytest.raises(BadCorpus, match="harvest_vam RECIPE"):
        verify(tmp_path, museum)


def test_a_lock_changed_by_hand_is_refused(tmp_path: Path, data: Path) -> None:
    lock = json.loads((data / LOCK).read_text())
    lock["files"]["images/x.jpg"] = "0"
    (data / LOCK).write_text(json.dumps(lock))
    with museum_of(*FOUR) as museum, pytest.raises(BadCorpus, match="changed by hand"):
        verify(tmp_path, museum, offline=True)

"""Texts with a time limit are deleted when it ends, by a stage or by a process of their own."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from training.errors import NotAllowed
from training.purge import wait_and_purge
from training.run.expiry import STAMP, due_of, guard, purge, require_fresh, stamp

KILLED = """
import os, sys
from pathlib import Path
from training.run.expiry import purge

def end(event, words):
    if event == "os.rmdir":
        os._exit(0)  # a kill when the first text is gone

sys.addaudithook(end)
purge(Path(sys.argv[1]), 7200.0)
os._exit(1)
"""


def test_a_later_stamp_does_not_lengthen_an_earlier_one(tmp_path: Path) -> None:
    assert stamp(tmp_path / "s", 24, now=0) == stamp(tmp_path / "s", 24, now=5000) == 24 * 3600


def test_a_stamp_that_cannot_be_read_counts_as_due(tmp_path: Path) -> None:
    stamp(tmp_path / "s", 24, now=0)
    (tmp_path / "s" / STAMP).write_text("half")
    assert purge(tmp_path, now=1.0) == [tmp_path / "s"]


def test_folders_without_a_stamp_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run" / "corpus").mkdir(parents=True)
    assert purge(tmp_path, now=1e12) == []
    assert due_of(tmp_path / "run" / "corpus") is None


def test_the_waiting_process_sleeps_until_the_hour_and_deletes(tmp_path: Path) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    stamp(tmp_path / "s", 1, now=0)
    wait_and_purge(tmp_path / "s", lambda: now[0], sleep)
    assert not (tmp_path / "s").exists() and now[0] == 3600


def test_a_process_of_its_own_deletes_when_nobody_else_does(tmp_path: Path) -> None:
    stamp(tmp_path / "s", 1 / 3600, now=time.time())
    guard(tmp_path / "s")
    until = time.monotonic() + 60
    while (tmp_path / "s").exists() and time.monotonic() < until:
        time.sleep(0.1)
    assert not (tmp_path / "s").exists()


def test_the_command_deletes_what_is_due(tmp_path: Path) -> None:
    stamp(tmp_path / "run" / "store", 1, now=time.time() - 7200)
    answer = subprocess.run(
        (sys.executable, "-m", "training.purge", "--runs", str(tmp_path)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Deleted 1 expired folder." in answer.stdout
    assert not (tmp_path / "run" / "store").exists()


def test_a_purger_that_is_killed_leaves_the_rest_stamped(tmp_path: Path) -> None:
    stamp(tmp_path / "s", 1, now=0)
    texts = tmp_path / "s" / "texts"
    texts.mkdir()
    (texts / "a.txt").write_text("Words.")
    subprocess.run((sys.executable, "-c", KILLED, str(tmp_path / "s")), check=True)
    assert due_of(tmp_path / "s") == 3600 and not (texts / "a.txt").exists()


def test_two_purgers_do_not_trip_over_each_other(tmp_path: Path) -> None:
    for n in range(40):
        stamp(tmp_path / f"s{n}", 1, now=0)
        for part in range(5):
            (tmp_path / f"s{n}" / f"d{part}").mkdir()
            (tmp_path / f"s{n}" / f"d{part}" / "a.txt").write_text("Words.")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(purge, [tmp_path] * 4, [7200.0] * 4))
    assert list(tmp_path.iterdir()) == []


def test_expired_texts_may_not_be_used() -> None:
    require_fresh(None, now=1.0)
    require_fresh(2.0, now=1.0)
    with pytest.raises(NotAllowed, match="Fetch them anew"):
        require_fresh(1.0, now=1.0)

"""Accepted = committed: whatever is killed, every accepted job ends once, with one answer."""

import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from engine.settings import Settings

KILLS = 5  # `python -m tests.benchmarks queue_kills --kills 500` is the long form
ACCEPTED = 36
PATIENCE = 60.0  # seconds
OWNER = Path(__file__).with_name("fault_owner.py")


class Owner:
    """A running fault_owner whose words go to a file."""

    def __init__(self, count: int, words: Path) -> None:
        self.words = words
        with words.open("wb") as file:
            self.process = subprocess.Popen([sys.executable, str(OWNER), str(count)], stdout=file)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def kill_worker(self) -> bool:
        try:
            workers = psutil.Process(self.process.pid).children()
        except psutil.NoSuchProcess:
            return False
        for worker in workers:
            worker.kill()
        return bool(workers)


def said(words: Path) -> list[tuple[str, str, str]]:
    lines = words.read_text().splitlines()
    return [tuple(json.loads(line)) for line in lines if line.endswith("]")]


def jobs(logs: list[Path], kind: str) -> set[str]:
    return {job for log in logs for said_kind, job, _ in said(log) if said_kind == kind}


def get_on(logs: list[Path], owner: Owner) -> None:
    """Wait for one more answer, however busy the machine is: a kill in every rerun's window would be
    the same job's third death alone, and that job is rightly given up."""
    before = len(jobs(logs, "finished"))
    until = time.monotonic() + PATIENCE
    while len(jobs(logs, "finished")) == before and owner.process.poll() is None:
        assert time.monotonic() < until, "nothing was answered between two kills"
        time.sleep(0.05)


@pytest.mark.slow
def test_kills_lose_no_job_and_end_none_twice(settings: Settings, tmp_path: Path) -> None:
    draw = random.Random(50)
    kills = Counter[str]()
    logs: list[Path] = []
    owner: Owner | None = None
    while sum(kills.values()) < KILLS or len(jobs(logs, "accepted")) < ACCEPTED:
        if owner is None or owner.process.poll() is not None:
            logs.append(tmp_path / f"owner-{len(logs)}.jsonl")
            owner = Owner(60, logs[-1])
        get_on(logs, owner)
        time.sleep(draw.uniform(0.05, 0.4))
        if draw.random() < 0.3:
            owner.kill()
            kills["owner"] += 1
        elif owner.kill_worker():
            kills["worker"] += 1
    owner.kill()
    logs.append(tmp_path / "last.jsonl")
    assert Owner(1, logs[-1]).process.wait(120) == 0

    heard = [line for log in logs for line in said(log)]
    promised = jobs(logs, "accepted")
    with sqlite3.connect(settings.ledger_file) as connection:
        states = dict(connection.execute("select id, state from jobs").fetchall())
        outputs = connection.execute("select job_id from outputs").fetchall()
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    print(f"\n{dict(kills)} kills, {len(promised)} accepted, {dict(Counter(states.values()))}")
    assert len(promised) >= ACCEPTED
    assert promised <= states.keys(), "accepted is committed"
    assert set(states.values()) == {"finished"}, "none lost, none dead, none failed"
    assert len(outputs) == len(set(outputs)) == len(states)
    finals = Counter(job for kind, job, _ in heard if kind == "finished")
    assert max(finals.values()) == 1


def test_a_fault_owner_left_alone_finishes_everything(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(OWNER), "5"],
        capture_output=True,
        timeout=60,
        env=os.environ,
        check=False,
    )
    kinds = Counter(json.loads(line)[0] for line in done.stdout.splitlines())
    assert kinds == {"accepted": 5, "finished": 5, "done": 1}

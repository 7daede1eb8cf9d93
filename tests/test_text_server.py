"""The whole way with a text server: a bot, its worker and one more, and a client, each a process."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from completions_server import Fault, TextServer, text_server
from program import events, pastiche, start, stop

from engine.settings import Settings

STORY = "A short story in the style of Lovecraft. It rained."
EXPERTS = ("base", "lovecraft", "agatha", "newsroom")


@pytest.fixture(scope="module")
def server() -> Iterator[TextServer]:
    with text_server(models=EXPERTS) as running:
        yield running


@pytest.fixture
def bot(server, settings: Settings, models: Path) -> Iterator[Path]:
    """A bot and `pastiche worker --text-server`, whose own worker asks the same server."""
    own = {"PASTICHE_BACKEND": "model", "PASTICHE_TEXT_SERVER": server.address}
    settings.home.mkdir()
    (settings.home / "models").symlink_to(models)
    chat = start("chat", **own)
    until(settings.socket.exists)
    worker = start("worker", "--text-server", server.address, PASTICHE_BACKEND="model")
    yield settings.home
    stop(worker)
    stop(chat)


def until(happened: Callable[[], object], seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)


def ask(*words: str) -> list[dict]:
    """The events of one request, the last of which is the only final one."""
    done = pastiche("ask", "--json", STORY, "--length", "30", *words, timeout=120)
    told = events(done.stdout)
    finals = [e["kind"] for e in told if e["kind"] in ("finished", "failed", "cancelled")]
    assert finals == [told[-1]["kind"]], done.stderr
    return told


@pytest.mark.slow
def test_a_text_server_serves_a_bot_through_its_faults(bot, server) -> None:
    final = ask()[-1]
    assert (final["kind"], final["base_digest"]) == ("finished", "server:lovecraft")
    assert final["text"].endswith("word35.")

    server.faults += [Fault(after=9, cut=True)]
    server.faults += [Fault(status=429, retry_after="0.1"), Fault(status=503)]
    final = ask()[-1]
    assert final["text"].startswith("word0 ") and final["text"].endswith("word35.")
    assert not server.faults, "it died in mid-stream, was busy, and was gone on with"

    server.faults += [Fault(model="agatha")]
    assert ask()[-1]["kind"] == "failed"

    before = len(server.asked)
    with ThreadPoolExecutor(2) as pool:
        finals = [told[-1] for told in pool.map(lambda n: ask("--seed", str(n)), range(2))]
    assert [f["kind"] for f in finals] == ["finished"] * 2
    assert sorted(asked["seed"] for asked in server.asked[before:]) == [0, 1]


@pytest.mark.slow
def test_a_cancelled_request_closes_its_stream(bot, server) -> None:
    server.left.clear()
    server.pause = 0.05
    words = [sys.executable, "-m", "bot", "ask", "--json", STORY, "--length", "300"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as asking:
        assert asking.stdout is not None
        next(line for line in asking.stdout if b"word3" in line)
        asking.send_signal(signal.SIGINT)
        last = events(asking.stdout.read())[-1]
    server.pause = 0.0
    assert last["kind"] == "cancelled"
    assert last["text"].startswith("word0 word1")
    assert server.left.wait(10), "the server noticed"

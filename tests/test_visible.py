"""What a model writes cannot reach into a terminal; what cannot be shown ends no answer."""

import asyncio
import io
import socket
import threading

import pytest
from program import pastiche, start
from rich.console import Console

from bot.messages.draft import Draft
from bot.terminal_client.live_answer import page_for
from engine.backends.echo import EchoBackend
from engine.events import Finished, Text
from engine.plan.cards import Sampling
from engine.plan.job import Job
from engine.workers.protocol import Link
from engine.workers.worker import _run

ESCAPES = "It\x1b]0;title\x07 \x1b[2J\x9b2J \u202erained \x08\x0b\x0c" + "o" + "\u0301" * 50


@pytest.mark.parametrize("kind", [Text, Finished])
async def test_no_worker_lets_a_control_character_through(kind: type) -> None:
    job = Job(
        id="j", request="r", expert="agatha", medium="text", prompt=ESCAPES + " and rained" * 30,
        head=0, length=60, seed=1, sampling=Sampling(),
    )  # fmt: skip
    ours, theirs = socket.socketpair()
    worker, owner = [Link(*await asyncio.open_connection(sock=end)) for end in (ours, theirs)]
    await _run(job, EchoBackend(), worker, {("j", 1): threading.Event()})
    await worker.close()
    events = []
    while (event := await owner.receive()) is not None:
        events.append(event)
    await owner.close()
    last = [event for event in events if isinstance(event, kind)][-1]
    assert last.text.startswith("It]0;title [2J2J rained  o" + "\u0301" * 6 + " and rained")


@pytest.mark.parametrize("code", ["\x07", "\x08", "\x0b", "\x0c", "\x1b[2J", "\u2028", "\x85"])
def test_a_page_on_a_terminal_survives_every_control_character(code: str) -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=40)
    with page_for(console) as page:
        for length in range(1, 200, 7):
            page.show(Draft(text=(f"It rained{code} and rained. " * 9)[:length]))


def test_an_argument_that_is_not_utf8_is_refused_kindly() -> None:
    for arguments in (["ask", b"caf\xe9"], ["ask", "It rained.", "--style", b"caf\xe9"]):
        done = pastiche(*arguments)
        assert (done.returncode, b"not UTF-8" in done.stderr) == (2, True)


def test_what_a_terminal_cannot_show_is_written_as_a_number() -> None:
    asked = start("ask", "It rained \u2014 and rained.", PYTHONIOENCODING="ascii")
    said, _ = asked.communicate(timeout=60)
    assert (asked.returncode, said) == (0, b"It rained \\u2014 and rained.\n")


def test_a_pipe_that_is_not_utf8_is_read_to_its_end() -> None:
    done = pastiche("chat", stdin=b"/story caf\xe9\n/styles\n")
    assert (done.returncode, b"caf" in done.stdout) == (0, True)

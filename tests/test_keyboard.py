"""What is typed in a terminal while an answer grows, and the language that it speaks."""

import contextlib
import os
import pty
import sys

import pytest

from bot.terminal_client.session import terminal_asker

AHEAD = """
import asyncio
from bot.terminal_client.keyboard import stoppable
async def main():
    done, ahead = asyncio.Event(), []
    async def cancel(job):
        done.set()
        return True
    async with stoppable(cancel, ahead) as running:
        running.job = "j"
        print("ready", flush=True)
        await asyncio.wait_for(done.wait(), 60)
    print(ahead, flush=True)
asyncio.run(main())
"""


def test_cancel_that_is_typed_ahead_stops_the_answer_and_other_lines_wait() -> None:
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", AHEAD])
    said = b""
    while b"ready" not in said:
        said += os.read(terminal, 4096)
    os.write(terminal, b"/styles\n/cancel\n")
    with contextlib.suppress(OSError):  # so Linux says that the other side is gone
        while more := os.read(terminal, 4096):
            said += more
    os.waitpid(child, 0)
    os.close(terminal)
    assert b"['/styles\\n']" in said


def test_a_terminal_speaks_its_language(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    assert terminal_asker().locale == "en"
    monkeypatch.setenv("LANG", "it_IT.UTF-8")
    assert terminal_asker().locale == "it"

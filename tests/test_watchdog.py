"""A loop that stands still is told, by a thread that does not."""

import asyncio
import logging
import subprocess
import sys
import threading
import time

import pytest
from prometheus_client import CollectorRegistry
from test_health import asked, get

from engine.monitor.health import Health, showing
from engine.monitor.watchdog import watching

LIMIT = 30.0  # seconds; a busy machine may take its time


def hold_the_loop(until: threading.Event) -> None:
    """What must never run on a loop."""
    assert until.wait(LIMIT)


class Heard(logging.Handler):
    """Sets an event at the first record of the watchdog."""

    def __init__(self) -> None:
        super().__init__()
        self.first = threading.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if "stands still" in record.getMessage():
            self.first.set()


async def test_a_loop_that_stands_still_is_told_with_the_place_where_it_does(caplog) -> None:
    heard = Heard()
    logging.getLogger("engine.monitor.watchdog").addHandler(heard)
    async with watching(seconds=0.1) as watchdog:
        hold_the_loop(heard.first)
        await asyncio.sleep(0.2)
        assert watchdog.stalled == 0.0
    logging.getLogger("engine.monitor.watchdog").removeHandler(heard)
    told = [record for record in caplog.records if record.name == "engine.monitor.watchdog"]
    assert [record.levelname for record in told] == ["ERROR", "WARNING"]
    assert "hold_the_loop" in told[0].stack


async def test_healthz_is_red_while_the_loop_stands_still_and_green_again() -> None:
    seen: list[tuple[int, str]] = []
    red = threading.Event()

    def look(port: int) -> None:
        begun = time.monotonic()
        while time.monotonic() - begun < LIMIT and not red.is_set():
            seen.append(get(port, "/healthz"))
            if seen[-1][0] == 503:
                red.set()

    async with showing(Health({}), CollectorRegistry(), "127.0.0.1", 0) as port:
        looking = asyncio.create_task(asyncio.to_thread(look, port))
        await asyncio.sleep(0)
        hold_the_loop(red)
        await looking
        assert seen[-1][1].startswith("stalled for")
        assert await asked(port, "/healthz") == (200, "alive\n")


@pytest.mark.parametrize("page", ["/readyz", "/metrics"])
async def test_the_other_pages_answer_without_the_loop(page: str) -> None:
    answered = threading.Event()
    seen: list[tuple[int, str]] = []

    def look(port: int) -> None:
        seen.append(get(port, page))
        answered.set()

    async def refresh() -> None:
        """What the figures of a bot are asked by; without the loop it does not begin."""

    async with showing(Health({}), CollectorRegistry(), "127.0.0.1", 0, refresh) as port:
        looking = threading.Thread(target=look, args=(port,))
        looking.start()
        hold_the_loop(answered)
        looking.join(LIMIT)
    assert (seen[0][0], "loop" in seen[0][1]) == (503, True)


def test_a_loop_held_by_c_code_is_told_once_it_turns_again() -> None:
    """A pattern that backtracks keeps the interpreter's lock: no thread of Python's runs."""
    program = """
import asyncio, logging, re
from engine.monitor.watchdog import watching

async def main():
    async with watching(seconds=0.2):
        for letters in range(18, 40):
            re.match("(a+)+b", "a" * letters)
            await asyncio.sleep(0.1)

logging.basicConfig()
asyncio.run(main())
"""
    child = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    with child:
        assert any("turns again" in line for line in child.stderr)
        child.kill()

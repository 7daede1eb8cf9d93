"""Leaving always ends: tasks, worker hosts and programs, whatever their database is doing."""

import ast
import asyncio
import gc
import signal
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest
from closings import Closings, Moment
from program import start, stop, wait_for
from telegram_server import TelegramServer

from engine.shutdown import end, run, wanted, within

ENDS_SECONDS = 30.0  # on a busy machine; the benchmark `closes` holds the promise to its 5
HOUSE = Path(__file__).parents[1]


async def eats(times: int) -> None:
    for _ in range(times):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            continue


async def test_a_task_whose_cancellation_was_eaten_is_cancelled_again() -> None:
    task = asyncio.create_task(eats(2))
    await asyncio.sleep(0)
    assert await end(task, courtesy=0.01)
    assert task.done()


async def test_a_task_that_does_not_end_is_left_behind_and_the_log_says_where(caplog) -> None:
    task = asyncio.create_task(eats(1000), name="glutton")
    await asyncio.sleep(0)
    assert not await end(task, courtesy=0.01)
    (told,) = (record for record in caplog.records if record.name == "engine.shutdown")
    assert told.task == "glutton"
    assert "eats test_shutdown.py" in told.stack
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)


async def test_a_loop_whose_cancellation_became_another_error_is_wanted_no_more() -> None:
    async def insists() -> str:
        while wanted():
            with suppress(asyncio.CancelledError):  # as a library may
                await asyncio.sleep(60)
        return "over"

    task = asyncio.create_task(insists())
    await asyncio.sleep(0)
    assert await end(task)
    assert task.result() == "over"


async def test_a_courtesy_that_takes_too_long_is_broken_off() -> None:
    with pytest.raises(TimeoutError):
        await within(0.01, asyncio.sleep(60))
    assert await within(60, asyncio.sleep(0, "done")) == "done"


def test_what_a_program_leaves_running_is_ended_with_it() -> None:
    async def main() -> asyncio.Task[None]:
        return asyncio.create_task(eats(1))

    assert run(main()).done()


@pytest.fixture
def closings(tmp_path, settings, postgres_server):
    made = Closings(tmp_path, postgres_server, settings)
    yield made
    made.close()


@pytest.mark.databases("postgres")
@pytest.mark.parametrize(
    ("kind", "fault"),
    [("queue", "cut"), ("queue", "freeze"), ("worker", "cut"), ("serve", "freeze")],
)
async def test_whoever_has_lost_its_database_leaves_in_time(kind, fault, closings) -> None:
    assert await closings.of(Moment(kind=kind, fault=fault)) < ENDS_SECONDS


@pytest.mark.databases("postgres")
async def test_a_second_signal_ends_a_program_at_once(tmp_path, settings) -> None:
    async with TelegramServer() as telegram:
        env = {"TELEGRAM_TOKEN": telegram.token, "TELEGRAM_API_BASE": telegram.base}
        telegram.private(7)
        telegram.say("/story It rained ::slow:: for many days and nights")
        bot = start("serve", "--telegram", PASTICHE_DRAIN_SECONDS="60", **env)
        try:
            await telegram.until(lambda: telegram.shown(7))
            bot.send_signal(signal.SIGTERM)
            # two signals that come while a busy machine lets it do nothing would be one
            await asyncio.to_thread(wait_for, settings.home / "logs" / "serve.jsonl", "draining")
            bot.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(bot.wait, 5) == -signal.SIGTERM
        finally:
            stop(bot)


@cache
def coroutines() -> list[tuple[str, ast.AsyncFunctionDef]]:
    gc.collect()  # a traceback that is logged while Python 3.11 parses would break the parsing
    found = []
    for folder in ("bot", "engine"):
        for path in sorted((HOUSE / folder).rglob("*.py")):
            if path.name == "shutdown.py":
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.AsyncFunctionDef):
                    found.append((f"{path.relative_to(HOUSE)}:{node.name}", node))
    return found


def own(node: ast.AST) -> Iterator[ast.AST]:
    """What a function does itself, without the functions in it."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from own(child)


def cancels(node: ast.AST) -> bool:
    """`task.cancel()` and no `await client.cancel()`."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr == "cancel"
        and not node.value.args  # or it is a job that is cancelled
    )


def test_no_coroutine_cancels_a_task_but_by_end() -> None:
    found = [name for name, made in coroutines() if any(map(cancels, own(made)))]
    assert found == [], "call engine.shutdown.end, which does not wait for ever"


def outlives_errors(node: ast.AST) -> bool:
    """An endless loop around a `try` that awaits, and whose errors do not end it."""
    endless = isinstance(node, ast.While) and isinstance(node.test, ast.Constant)
    ways_out = any(isinstance(part, ast.Return | ast.Break) for part in own(node))
    return (endless and not ways_out) and any(
        isinstance(part, ast.Try)
        and any(isinstance(n, ast.Await | ast.AsyncWith | ast.AsyncFor) for n in own(part))
        and any(
            not isinstance(h.body[-1], ast.Raise | ast.Return | ast.Break) for h in part.handlers
        )
        for part in own(node)
    )


def test_no_loop_outlives_errors_unless_it_is_wanted() -> None:
    found = [name for name, made in coroutines() if any(map(outlives_errors, own(made)))]
    assert found == [], "write `while wanted():`, since a cancellation may come as another error"


def test_a_program_is_run_by_what_ends_it() -> None:
    others = (path for folder in ("bot", "engine") for path in (HOUSE / folder).rglob("*.py"))
    found = [path.name for path in others if "asyncio.run(" in path.read_text()]
    assert found == [], "call engine.shutdown.run"

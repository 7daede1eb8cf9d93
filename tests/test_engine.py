"""The Engine's contract, held against the owner's engine, an attached one, and the lasting one."""

import asyncio
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from following import events_of
from program import pastiche, start, stop, wait_for
from tiny_models import write_card

from engine import Engine, errors
from engine.errors import SetupError, StyleError
from engine.events import Cancelled, Event, Failed, Finished, Queued
from engine.lock import take_lock
from engine.plan.job import Request, Status
from engine.plan.picture import MOST_PICTURES
from engine.plan.plan import MAX_SEED
from engine.process.bootstrap import REOPEN_PAUSES, ReconnectingEngine, cards_of, open_engine
from engine.process.client import ClientEngine, _checked
from engine.process.services import services_on
from engine.workers.protocol import Call, Link, Refused, Returned


@pytest.fixture(params=["local", "attached", "lasting"])
async def core(request, settings) -> AsyncIterator[Engine]:
    async with open_engine(settings) as owner:
        if request.param == "local":
            yield owner
        elif request.param == "attached":
            yield ClientEngine(settings, cards_of(settings))
        else:
            async with ReconnectingEngine(settings) as lasting:
                yield lasting


async def test_a_request_is_accepted_then_answered_once(core: Engine, make_request) -> None:
    events = [event async for event in events_of(core, make_request("It rained and rained."))]
    assert isinstance(events[0], Queued)
    assert isinstance(events[-1], Finished)
    assert events[-1].text == "It rained and rained."
    assert [e async for e in core.follow(events[-1].job)] == [events[-1]]
    told = await core.answer(events[-1].job)
    assert told is not None and told.text == events[-1].text
    assert await core.last("terminal", "tester", "terminal") == told
    await core.delivered(events[-1].job)


async def test_what_the_asker_can_mend_is_raised_as_it_is(core: Engine, make_request) -> None:
    with pytest.raises(StyleError, match="Did you mean lovecraft"):
        await anext(events_of(core, make_request("It rained.", style="lovecarft")))


async def test_a_running_answer_is_cancelled(core: Engine, make_request) -> None:
    last = None
    async for last in events_of(core, make_request("It ::slow:: rained.")):
        if last.kind == "started":
            assert await core.cancel(last.job)
    assert isinstance(last, Cancelled)
    assert not await core.cancel(last.job)


async def test_a_failure_is_told_with_a_kind_sentence(core: Engine, make_request) -> None:
    last = [event async for event in events_of(core, make_request("It ::fail:: rained."))][-1]
    assert isinstance(last, Failed)
    assert "on our side" in last.message
    assert not last.dead


async def test_a_job_that_kills_its_worker_is_given_up_and_the_next_one_is_answered(
    settings, make_request
) -> None:
    async with open_engine(settings) as core:
        poison = [event async for event in events_of(core, make_request("It ::die:: rained."))][-1]
        assert isinstance(poison, Failed) and poison.dead
        healthy = [event async for event in events_of(core, make_request("It rained."))][-1]
        assert isinstance(healthy, Finished)


async def test_an_owner_that_is_stopped_is_told_instead_of_waited_for_for_ever(settings) -> None:
    owner = start("chat")
    try:
        wait_for(settings.socket)
        os.kill(owner.pid, signal.SIGSTOP)
        with pytest.raises(SetupError, match=r"does not answer.*owner\.lock"):
            async with open_engine(settings):
                pass
    finally:
        os.kill(owner.pid, signal.SIGCONT)
        stop(owner)


@asynccontextmanager
async def intruder(settings, mode: int) -> AsyncIterator[list[float]]:
    """Somebody who listens where an owner that is just starting will; tells when something came."""
    heard: list[float] = []

    async def serve(reader, writer) -> None:
        link = Link(reader, writer)
        message = await link.receive()
        heard.append(time.monotonic())
        if isinstance(message, Call) and message.method == "status":
            await link.send(Returned(value=Status(owner=1, waiting=(), workers={})))
        await link.close()

    settings.runtime.mkdir(mode=0o700)
    settings.runtime.chmod(mode)
    with closing(take_lock(settings.home, settings.socket)):
        server = await asyncio.start_unix_server(serve, str(settings.socket))
        async with server:
            yield heard
    settings.socket.unlink(missing_ok=True)


async def test_nothing_is_said_at_a_socket_that_others_may_have_made(settings) -> None:
    async with intruder(settings, 0o777) as heard:
        with pytest.raises(SetupError, match="belongs to somebody else"):
            async with open_engine(settings):
                pass
        assert heard == []


async def test_an_owner_that_always_leaves_is_not_hammered(settings, make_request) -> None:
    async def asked() -> None:
        async with ReconnectingEngine(settings) as core:
            await anext(events_of(core, make_request("It rained.")))

    async with intruder(settings, 0o700) as heard:
        asking = asyncio.create_task(asked())
        async with asyncio.timeout(60):
            while len(heard) < 7:  # it was met, left, met again: three times
                await asyncio.sleep(0.02)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        assert heard[6] - heard[0] >= sum(REOPEN_PAUSES[:3])


def test_an_owner_and_a_client_of_other_environments_meet(settings, tmp_path) -> None:
    (tmp_path / "run").mkdir()
    owner = start("chat", XDG_RUNTIME_DIR=str(tmp_path / "run"))
    try:
        wait_for(settings.home / "owner.lock")
        assert pastiche("ask", "It rained.").returncode == 0
        if sys.platform == "linux":  # a core file would hold keys and prompts
            assert resource.prlimit(owner.pid, resource.RLIMIT_CORE) == (0, 0)
    finally:
        stop(owner)


def test_nothing_in_the_callers_folder_is_imported_by_the_worker(tmp_path) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit('imported')")
    (tmp_path / "engine.py").write_text("raise SystemExit('imported')")
    program = [str(Path(sys.executable).with_name("pastiche")), "ask", "It rained."]
    done = subprocess.run(program, cwd=tmp_path, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


async def test_a_process_has_one_ledger(settings) -> None:
    async with (
        ReconnectingEngine(settings) as core,
        core.ledger() as ledger,
        core.ledger() as again,
        services_on(ledger, settings) as services,
    ):
        assert again is ledger is services.ledger is core._core.ledger


async def test_a_card_that_comes_while_it_runs_is_learnt_by_engine_and_worker(
    core: Engine, settings, make_request
) -> None:
    await anext(events_of(core, make_request("It rained.")))  # the worker has read its cards
    with pytest.raises(StyleError):
        core.plan(make_request("It rained.", style="moss"))
    write_card(settings.home / "experts", "moss", "smollm2-135m-instruct")
    events = [e async for e in events_of(core, make_request("It rained.", style="moss"))]
    assert isinstance(events[-1], Finished)
    told = await core.answer(events[-1].job)
    assert told is not None and told.route.expert == "moss"


async def _after_a_new_worker(core: Engine, request: Request) -> Event:
    """Ask once more, of a worker that starts now."""
    for worker in core.queue.dispatcher.workers:
        os.kill(worker.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        return [event async for event in events_of(core, request)][-1]


async def test_a_worker_that_starts_after_cards_came_and_went_is_taken(
    settings, make_request
) -> None:
    cards, base = settings.home / "experts", "smollm2-135m-instruct"
    write_card(cards, "gone", base)
    async with open_engine(settings) as core:
        await anext(events_of(core, make_request("It rained.")))
        write_card(cards, "moss", base)
        ode = write_card(cards, "ode", base) / "card.toml"
        ode.write_text(ode.read_text().replace('command = "story"', 'command = "ode"'))
        shutil.rmtree(cards / "gone")
        for style in ("", "moss"):
            request = make_request("It rained.", style=style)
            assert isinstance(await _after_a_new_worker(core, request), Finished)


async def test_a_worker_that_starts_after_a_card_was_replaced_is_refused_and_nothing_waits_for_it(
    settings, make_request
) -> None:
    cards = settings.home / "experts"
    write_card(cards, "moss", "smollm2-135m-instruct")
    async with open_engine(settings) as core:
        await anext(events_of(core, make_request("It rained.")))
        write_card(cards, "moss", "another-base")
        final = await _after_a_new_worker(core, make_request("It rained."))
        assert isinstance(final, Failed) and "Restart the bot" in final.reason


@pytest.mark.parametrize("kind", [k for k in vars(errors).values() if isinstance(k, type)])
def test_every_error_comes_over_the_socket_as_what_it_is(kind: type[Exception]) -> None:
    with pytest.raises(kind):
        _checked(Refused(error=kind.__name__, message="Please try again."))


def test_each_picture_of_the_highest_seed_has_one_that_every_column_holds() -> None:
    assert MAX_SEED + MOST_PICTURES - 1 < 2**31

"""The JobQueue's contract, on both queues, and what each promises beyond it.

Workers here are real protocol peers on a real Unix socket, driven by hand, so that every order of
events can be brought about.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import fields

import pytest
from following import events_of
from queueing import Asked, finished, hand_worker, next_run, queueing, socket_of, told

from engine.engine import LocalEngine
from engine.errors import BusyError
from engine.events import Cancelled, Failed, Finished, Loading, Queued, Started, Text
from engine.ledger.ledger import Ledger
from engine.plan.cards import Registry
from engine.queues.dispatcher import DEATHS_ALONE
from engine.settings import Settings
from engine.workers.protocol import Hello, Refused, Serving, Stop, connect

pytestmark = pytest.mark.databases("sqlite", "postgres")


@pytest.fixture
async def engine(
    settings: Settings, registry: Registry, ledger: Ledger
) -> AsyncIterator[LocalEngine]:
    async with queueing(settings, registry, ledger) as made:
        yield made


@pytest.fixture
def ask(engine, make_request):
    async def asking(text: str = "It rained.") -> Asked:
        asked = Asked(engine, make_request(text))
        await asyncio.wait_for(asked.accepted.wait(), 60)
        return asked

    return asking


async def test_an_answer_goes_from_queued_over_text_to_what_is_on_record(
    settings, ask, ledger
) -> None:
    async with hand_worker(settings) as worker:
        asked = await ask()
        job = await next_run(worker)
        worker.post(Text(job=job.id, attempt=1, text="It", tokens=1))
        await told(asked, Text)
        worker.post(finished(job, "It still rained."))
        final = await asked.end()
    events = [e for e in asked.events if not isinstance(e, Loading)]  # it had only just come
    assert [type(e) for e in events] == [Queued, Started, Text, Finished]
    assert final == await ledger.final(job.id)
    assert final.text == "It still rained."


async def test_without_a_ready_worker_the_asker_is_told_that_one_is_loading(ask) -> None:
    asked = await ask()
    await told(asked, Loading)
    assert [type(e) for e in asked.events] == [Queued, Loading]


async def test_jobs_run_in_the_order_they_came_and_know_their_place(settings, ask) -> None:
    asked = [await ask(f"Story {n}.") for n in range(3)]
    assert [a.events[0].position for a in asked] == [0, 1, 2]
    async with hand_worker(settings) as worker:
        for one in asked:
            job = await next_run(worker)
            assert job.id == one.events[0].job
            worker.post(finished(job))
            await one.end()


async def test_a_worker_never_has_more_jobs_than_slots(settings, ask) -> None:
    for n in range(3):
        await ask(f"Story {n}.")
    async with hand_worker(settings, slots=2) as worker:
        first, _ = await next_run(worker), await next_run(worker)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(worker.receive(), 0.1)
        worker.post(finished(first))
        await next_run(worker)


async def test_a_waiting_job_is_cancelled_at_once(engine, ask, ledger) -> None:
    asked = await ask()
    assert await engine.cancel(asked.events[0].job)
    assert isinstance(await asked.end(), Cancelled)
    assert not await engine.cancel(asked.events[0].job), "nothing is left to stop"
    assert await ledger.unfinished() == []


async def test_a_running_job_is_stopped_by_its_worker_and_keeps_its_text(
    settings, engine, ask
) -> None:
    async with hand_worker(settings) as worker:
        asked = await ask()
        job = await next_run(worker)
        assert await engine.cancel(job.id)
        assert await asyncio.wait_for(worker.receive(), 60) == Stop(job=job.id)
        worker.post(Cancelled(job=job.id, attempt=1, text="It"))
        final = await asked.end()
    assert isinstance(final, Cancelled) and final.text == "It"


async def test_jobs_of_a_dead_worker_run_again_alone_before_the_others(settings, ask) -> None:
    async with hand_worker(settings, slots=2) as worker:
        first, second, third = [await ask(f"Story {n}.") for n in range(3)]
        await next_run(worker), await next_run(worker)
    async with hand_worker(settings, slots=2) as worker:
        for asked in (first, second):
            job = await next_run(worker)
            assert (job.id, job.attempt, job.alone) == (asked.events[0].job, 2, True)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(worker.receive(), 0.05)
            worker.post(finished(job))
            assert isinstance(await asked.end(), Finished)
        job = await next_run(worker)
        assert (job.attempt, job.alone) == (1, False)
        worker.post(finished(job))
        await third.end()


async def test_a_stale_workers_word_is_not_heard(settings, ask) -> None:
    async with hand_worker(settings) as worker:
        asked = await ask()
        await next_run(worker)
    async with hand_worker(settings) as worker:
        job = await next_run(worker)
        worker.post(Finished(**{**_fields(finished(job, "stale")), "attempt": 1}))
        worker.post(finished(job, "true"))
        final = await asked.end()
    assert isinstance(final, Finished) and final.text == "true"


def _fields(event) -> dict:
    return {field.name: getattr(event, field.name) for field in fields(event)}


async def test_only_a_job_that_kills_its_worker_alone_is_given_up_with_an_apology(
    settings, ask, ledger
) -> None:
    poison = await ask("poison")
    for _ in range(1 + DEATHS_ALONE):  # once among others, then alone
        async with hand_worker(settings) as worker:
            job = await next_run(worker)
            assert job.id == poison.events[0].job
    final = await poison.end()
    assert isinstance(final, Failed) and final.dead
    assert "apolog" in final.message
    assert await ledger.unfinished() == []


async def test_a_worker_that_takes_its_leave_blames_nobody(settings, ask) -> None:
    asked = await ask()
    for attempt in range(1, 3 + DEATHS_ALONE):
        async with hand_worker(settings) as worker:
            job = await next_run(worker)
            assert (job.attempt, job.alone) == (attempt, False)
            await worker.send(Serving())
    async with hand_worker(settings) as worker:
        worker.post(finished(await next_run(worker)))
        assert isinstance(await asked.end(), Finished)


async def test_a_job_that_its_worker_had_not_begun_is_not_blamed(settings, ask) -> None:
    asked = await ask()
    async with hand_worker(settings) as worker:
        await next_run(worker, begin=False)
    async with hand_worker(settings) as worker:
        job = await next_run(worker)
        assert (job.attempt, job.alone) == (2, False)
        worker.post(finished(job))
        await asked.end()


async def test_the_line_moves_and_those_in_it_are_told(settings, ask) -> None:
    asked = [await ask(f"Story {n}.") for n in range(3)]
    async with hand_worker(settings) as worker:
        worker.post(finished(await next_run(worker)))
        second = await next_run(worker)
        await told(asked[2], Queued, lambda event: event.position == 1)
        worker.post(finished(second))
        worker.post(finished(await next_run(worker)))
        await asked[2].end()
    places = [event.position for event in asked[2].events if isinstance(event, Queued)]
    assert places == sorted(places, reverse=True)
    assert places[0] == 2 and places[-1] <= 1


async def test_a_job_that_was_accepted_is_queued_even_if_its_asker_goes_at_that_moment(
    engine, make_request, ledger
) -> None:
    for number in range(40):
        task = asyncio.create_task(anext(events_of(engine, make_request(f"Story {number}."))))
        await asyncio.sleep(0.0005 * number)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    committed, queued = {"?"}, set()
    until = time.monotonic() + 60
    while committed != queued and time.monotonic() < until:
        await asyncio.sleep(0.1)
        committed = {job.id for job, *_ in await ledger.unfinished()}
        queued = {waiting.job for waiting in (await engine.status()).waiting}
    assert committed == queued


async def test_asking_again_under_the_same_name_is_the_same_job(
    engine, make_request, ledger
) -> None:
    request = make_request()
    for _ in range(2):
        events = events_of(engine, request, "01ASKEDTWICEASKEDTWICEASKE")
        assert (await anext(events)).job == "01ASKEDTWICEASKEDTWICEASKE"
        await events.aclose()
    assert len(await ledger.unfinished()) == 1


async def test_a_misconfigured_extra_worker_spoils_nothing_for_the_one_that_serves(
    settings, ask
) -> None:
    async with hand_worker(settings) as worker:
        first, second = await ask("One."), await ask("Two.")
        job = await next_run(worker)
        odd = await connect(str(socket_of(settings)))
        await odd.send(Hello(medium="text", pid=1))
        await odd.send(Serving(reason="another profile"))
        await odd.close()
        for asked in (first, second):
            worker.post(finished(job))
            assert isinstance(await asked.end(), Finished)
            if asked is first:
                job = await next_run(worker)


async def test_a_worker_with_other_weights_is_refused_and_told(settings, ask) -> None:
    asked = await ask()
    odd = await connect(str(socket_of(settings)))
    await odd.send(Hello(medium="text", pid=1, fingerprint="text.other-base.00000000"))
    answer = await asyncio.wait_for(odd.receive(), 60)
    assert isinstance(answer, Refused) and "Install the same on both" in answer.message
    assert await odd.receive() is None
    await odd.close()
    async with hand_worker(settings) as worker:
        worker.post(finished(await next_run(worker)))
        assert isinstance(await asked.end(), Finished)


@pytest.mark.databases("sqlite")
async def test_what_a_refused_worker_said_of_itself_is_heard(settings, ask) -> None:
    asked = await ask()
    odd = await connect(str(socket_of(settings)))
    await odd.send(Hello(medium="text", pid=1, fingerprint="text.other-base.00000000"))
    await odd.send(Serving(reason="The base is missing."))
    final = await asked.end()
    assert isinstance(final, Failed) and final.reason == "The base is missing."
    assert isinstance(await odd.receive(), Refused)
    await odd.close()


@pytest.mark.databases("sqlite")
async def test_a_medium_that_no_worker_can_serve_fails_with_the_operators_reason(
    settings, ask
) -> None:
    asked = await ask()
    link = await connect(str(socket_of(settings)))
    await link.send(Hello(medium="text", pid=1))
    await link.send(Serving(reason="The base is missing."))
    final = await asked.end()
    await link.close()
    assert isinstance(final, Failed) and final.reason == "The base is missing."


async def test_a_full_queue_takes_nothing_more(settings, registry, ledger, make_request) -> None:
    small = settings.model_copy(update={"max_waiting": 2})
    async with queueing(small, registry, ledger) as engine:
        for n in range(2):
            events = events_of(engine, make_request(f"Story {n}."))
            await anext(events)
            await events.aclose()
        with pytest.raises(BusyError, match="try again"):
            await anext(events_of(engine, make_request("One too many.")))
    assert len(await ledger.unfinished()) == 2


async def test_an_owner_takes_up_what_the_one_before_it_left(
    settings, registry, ledger, make_request
) -> None:
    async with queueing(settings, registry, ledger) as engine:
        async with hand_worker(settings) as worker:
            running = Asked(engine, make_request("running"))
            waiting = Asked(engine, make_request("waiting"))
            await next_run(worker)
            await running.accepted.wait()
            await waiting.accepted.wait()
            jobs = [running.events[0].job, waiting.events[0].job]
        running.leave()
        waiting.leave()
    assert {job.id for job, *_ in await ledger.unfinished()} == set(jobs)
    async with (
        queueing(settings, registry, ledger) as engine,
        hand_worker(settings) as worker,
    ):
        for _ in jobs:
            job = await next_run(worker)
            worker.post(finished(job))
            events = [e async for e in engine.follow(job.id)]
            assert isinstance(events[-1], Finished)


async def test_operators_see_the_queue_and_bring_back_what_died(settings, engine, ask) -> None:
    poison, waiting = await ask("poison"), await ask("waiting")
    async with hand_worker(settings) as worker:
        job = await next_run(worker)
        while (text := (await engine.overview()).media[0]).running == 0:
            await asyncio.sleep(0.01)
        assert (text.medium, text.queued, text.running) == ("text", 1, 1)
        assert text.oldest_seconds >= 0 and text.done_per_minute == 0
        dead = Failed(job=job.id, attempt=1, message="no", reason="why", dead=True)
        worker.post(dead)
        await poison.end()
        assert [d.job for d in (await engine.overview()).dead] == [job.id]

        assert not await engine.retry(waiting.events[0].job + "?"), "there is no such job"
        assert await engine.retry(job.id)
        worker.post(finished(await next_run(worker)))
        await waiting.end()
        again = await next_run(worker)
        assert (again.id, again.attempt, again.alone) == (job.id, 2, True)
        worker.post(finished(again))
        events = [e async for e in engine.follow(job.id)]
        assert isinstance(events[-1], Finished)
        assert not await engine.retry(job.id), "it is answered"
    assert (await engine.overview()).dead == ()


async def test_operators_can_take_a_job_out(settings, engine, ask) -> None:
    running, waiting = await ask("running"), await ask("waiting")
    async with hand_worker(settings) as worker:
        job = await next_run(worker)
        for asked in (waiting, running):
            assert await engine.drop(asked.events[0].job)
            final = await asked.end()
            assert isinstance(final, Failed) and final.reason == "taken out by the operator"
        assert await asyncio.wait_for(worker.receive(), 60) == Stop(job=job.id)
        assert not await engine.drop(job.id)
        third = await ask("third")
        worker.post(Cancelled(job=job.id, attempt=1))
        worker.post(finished(await next_run(worker)))
        assert isinstance(await third.end(), Finished)

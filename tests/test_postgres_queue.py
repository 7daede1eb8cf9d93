"""What the queue on Postgres promises beyond the contract: many processes, and none of them needed."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import sqlalchemy as sa
from following import events_of
from hypothesis import given
from hypothesis import strategies as st
from queueing import Asked, asking, finished, hand_worker, next_run, staffed, told

from engine.engine import LocalEngine
from engine.errors import BusyError, LedgerError
from engine.events import UNSERVED, Finished, Image, Loading, Queued, Started, Text
from engine.ledger.ledger import Ledger
from engine.ledger.storage import open_database
from engine.plan.cards import Registry
from engine.queues.postgres.claims import TURN_SECONDS, Claims
from engine.queues.postgres.maintenance import Maintenance
from engine.queues.postgres.notifications import (
    MAX_NOTE_BYTES,
    event_note,
    queue_channel,
    read_event,
)
from engine.queues.postgres.queue import PostgresQueue
from engine.queues.postgres.tables import Ticket
from engine.queues.postgres.worker_host import WorkerHost
from engine.vault import Vault
from engine.workers.fingerprint import BASE_LETTERS, fingerprint_of, safe
from engine.workers.protocol import Hello, Serving, Stop, connect

pytestmark = pytest.mark.databases("postgres")
CHANNEL_BYTES = 63  # the server's limit


@pytest.fixture
async def engine(settings, registry, ledger) -> AsyncIterator[LocalEngine]:
    """A process that asks and has no workers."""
    async with asking(settings, registry, ledger) as made:
        yield made


@pytest.fixture
async def worker_host(settings, registry, ledger) -> AsyncIterator[WorkerHost]:
    async with staffed(settings, registry, ledger) as made:
        yield made


@pytest.fixture
def rescue(settings, registry, ledger) -> Maintenance:
    return Maintenance(ledger, fingerprint_of(registry, settings), settings.lost_after)


@pytest.fixture
def ask(engine, make_request):
    async def asking_for(text: str = "It rained.", **changes) -> Asked:
        asked = Asked(engine, make_request(text, **changes))
        await asyncio.wait_for(asked.accepted.wait(), 60)
        return asked

    return asking_for


async def every(ledger: Ledger, statement: str, **values) -> list:
    async with ledger.writing() as connection:
        done = await connection.execute(sa.text(statement), values)
        return done.all() if done.returns_rows else []


async def test_the_queue_knows_a_jobs_name_and_nothing_of_what_was_asked(ask, ledger) -> None:
    asked = await ask("CANARY")
    ((ticket,),) = await every(ledger, "SELECT tickets::text FROM tickets")
    assert asked.events[0].job in ticket
    assert "CANARY" not in ticket


async def test_what_is_not_in_the_record_is_not_in_the_queue(
    engine, registry, ledger, make_request
) -> None:
    from engine.plan.router import route

    request = make_request()
    chosen = route(request.command, request.text, request.style, registry)
    job = engine.plan(request, "01NEVERACCEPTEDNEVERACCEPT").job

    async def beside(connection) -> bool:
        await engine.queue._claims.issue(connection, job.id, "asker", "text.base.mark", None)
        raise LedgerError("no")

    with pytest.raises(LedgerError):
        await ledger.accept(request, chosen, job, beside)
    assert await every(ledger, "SELECT job_id FROM tickets") == []
    assert await every(ledger, "SELECT id FROM jobs") == []


async def test_a_finished_job_leaves_nothing_in_the_queue(
    ask, worker_host, settings, ledger
) -> None:
    async with hand_worker(settings) as worker:
        asked = await ask()
        worker.post(finished(await next_run(worker)))
        await asked.end()
    for table in ("tickets", "progress"):
        assert await every(ledger, f"SELECT * FROM {table}") == []


async def test_many_who_claim_at_once_get_each_job_once_and_in_order(ask, ledger, engine) -> None:
    waiting = [(await ask(f"Story {n}.", asker=f"asker {n}")).events[0].job for n in range(12)]
    queues = engine.queue._fingerprint.of_medium("text")

    async def claim_all(worker: int) -> list[str]:
        got = []
        while claim := await Claims(ledger).claim(worker, queues):
            got.append(claim[0].job.id)
        return got

    each = await asyncio.gather(*(claim_all(worker) for worker in range(1, 5)))
    assert sorted(job for jobs in each for job in jobs) == sorted(waiting)
    assert all(jobs == sorted(jobs) for jobs in each)


async def test_a_ticket_that_somebody_holds_keeps_no_other_waiting(ask, ledger, engine) -> None:
    held, free = [(await ask(f"Story {n}.", asker=f"asker {n}")).events[0].job for n in range(2)]
    queues = engine.queue._fingerprint.of_medium("text")
    async with ledger.writing() as frozen:  # as a machine that was cut off in mid-transaction
        await frozen.execute(
            sa.text("SELECT 1 FROM tickets WHERE job_id = :job FOR UPDATE"), {"job": held}
        )
        claim = await asyncio.wait_for(Claims(ledger).claim(1, queues), 30)
        assert claim is not None and claim[0].job.id == free
    assert await Claims(ledger).claim(1, queues) is not None


@pytest.mark.parametrize(
    ("way", "at"),
    [
        ("cancel", "LOCK TABLE workers"),  # before it looks who has the job
        ("drop", "LOCK TABLE workers"),
        ("drop", "SELECT"),  # as it takes the ticket away
    ],
)
async def test_what_is_ended_while_it_is_handed_back_is_ended(ask, ledger, engine, way, at) -> None:
    asked = await ask()
    job = asked.events[0].job
    claims = Claims(ledger)
    assert await claims.claim(1, engine.queue._fingerprint.of_medium("text")) is not None
    async with ledger.writing() as leaving:
        await leaving.execute(sa.text(at))
        await claims.release(leaving, Ticket.worker == 1)
        ending = asyncio.create_task(getattr(engine.queue, way)(job))
        waits = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        async with asyncio.timeout(60):
            while not await every(ledger, f"{waits} AND datname = current_database()"):
                await asyncio.sleep(0.01)
    assert await ending
    assert (await asked.end()).attempt == 2
    assert await every(ledger, "SELECT job_id FROM tickets") == []


async def test_one_request_beside_a_flood_comes_next(ask, worker_host, settings) -> None:
    flood = [await ask(f"Flood {n}.", asker="flood") for n in range(5)]
    guest = await ask("Guest.", asker="guest")
    order = []
    async with hand_worker(settings) as worker:
        for _ in range(3):
            job = await next_run(worker)
            order.append(job.id)
            worker.post(finished(job))
    names = [flood[0].events[0].job, guest.events[0].job, flood[1].events[0].job]
    assert order == names
    for asked in flood:
        asked.leave()


async def test_who_waits_long_enough_comes_before_newcomers(
    ask, worker_host, settings, ledger
) -> None:
    flood = [await ask(f"Flood {n}.", asker="flood") for n in range(2)]
    waited = "UPDATE tickets SET created_at = created_at - :s, rank = rank - :s / :turn"
    await every(ledger, waited, s=3 * TURN_SECONDS, turn=TURN_SECONDS)
    newcomer = await ask("New.", asker="newcomer")
    order = []
    async with hand_worker(settings) as worker:
        for _ in range(3):
            job = await next_run(worker)
            order.append(job.id)
            worker.post(finished(job))
    assert order == [asked.events[0].job for asked in (*flood, newcomer)]


async def test_a_job_that_nobody_can_serve_is_told_at_once_and_served_when_somebody_can(
    ask, settings, registry, ledger, caplog
) -> None:
    asked = await ask()
    await told(asked, Loading, lambda event: event.what == UNSERVED)
    assert any("pastiche worker --media text" in getattr(r, "hint", "") for r in caplog.records)
    async with staffed(settings, registry, ledger), hand_worker(settings) as worker:
        worker.post(finished(await next_run(worker)))
        assert isinstance(await asked.end(), Finished)


def other_weights(registry: Registry) -> Registry:
    """The same experts, one of them with another adapter."""
    changed = registry["lovecraft"]
    weights = replace(changed.profiles["embedded"], digest="sha256:" + "0" * 64)
    changed = replace(changed, profiles={**changed.profiles, "embedded": weights})
    rest = tuple(e for e in registry.experts if e.name != "lovecraft")
    return replace(registry, experts=(changed, *rest))


async def test_a_worker_with_other_weights_gets_nothing_and_the_operator_is_told(
    ask, engine, settings, registry, ledger
) -> None:
    async with (
        staffed(settings, other_weights(registry), ledger),
        hand_worker(settings) as worker,
    ):
        asked = await ask()
        await told(asked, Loading, lambda event: event.what == UNSERVED)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(worker.receive(), 1.5)
        (hint,) = (await engine.overview()).unserved
        assert "other weights for lovecraft" in hint and "restart it" in hint
        asked.leave()


async def test_what_was_accepted_with_older_weights_moves_to_the_workers_there_are(
    settings, registry, ledger, make_request
) -> None:
    async with asking(settings, other_weights(registry), ledger) as old:
        asked = Asked(old, make_request())
        await asked.accepted.wait()
        async with (
            staffed(settings, registry, ledger),
            hand_worker(settings) as worker,
            asking(settings, registry, ledger),
        ):
            worker.post(finished(await next_run(worker)))
            assert isinstance(await asked.end(), Finished)


async def fall_silent(ledger: Ledger, worker_host: WorkerHost, rescue: Maintenance) -> None:
    """Its signs of life stopped an hour ago, by the database's clock, and that is noticed."""
    numbers = {"numbers": worker_host.numbers()}
    silence = "UPDATE workers SET seen_at = seen_at - 3600 WHERE number = ANY(:numbers)"
    while await every(ledger, "SELECT 1 FROM workers WHERE number = ANY(:numbers)", **numbers):
        await every(ledger, silence, **numbers)
        await rescue.run()


async def test_jobs_of_a_silent_station_run_elsewhere_and_its_late_answer_is_refused(
    ask, settings, registry, ledger, rescue
) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(staffed(settings, registry, ledger))
        worker = await stack.enter_async_context(hand_worker(settings, socket=first.socket))
        asked = await ask()
        job = await next_run(worker)
        await told(asked, Started)
        second = await stack.enter_async_context(staffed(settings, registry, ledger))
        other = await stack.enter_async_context(hand_worker(settings, socket=second.socket))
        await fall_silent(ledger, first, rescue)
        again = await next_run(other)
        assert (again.id, again.attempt, again.alone) == (job.id, 2, False), "nobody is blamed"
        worker.post(finished(job, "late"))
        worker.post(Text(job=job.id, attempt=1, text="late", tokens=1))
        await asyncio.sleep(0.3)
        other.post(finished(again, "true"))
        final = await asked.end()
    assert isinstance(final, Finished) and final.text == "true"
    assert [e.text for e in asked.events if isinstance(e, Text)] == []


async def test_a_station_that_counted_as_gone_stops_what_it_lost_and_works_on(
    ask, worker_host, settings, ledger, rescue
) -> None:
    async with hand_worker(settings) as worker:
        asked = await ask()
        job = await next_run(worker)
        await fall_silent(ledger, worker_host, rescue)
        worker_host.look()
        messages = [await asyncio.wait_for(worker.receive(), 60) for _ in range(2)]
        assert Stop(job=job.id) in messages
        again = next(m.job for m in messages if not isinstance(m, Stop))
        assert (again.id, again.attempt) == (job.id, 2)
        worker.post(finished(again))
        assert isinstance(await asked.end(), Finished)


async def test_a_clock_that_is_a_day_ahead_changes_nothing(ask, settings, registry, rescue) -> None:
    async with AsyncExitStack() as stack:
        ahead = Ledger(await open_database(settings), settings.media, lambda: time.time() + 86_400)
        stack.push_async_callback(ahead.close)
        await stack.enter_async_context(staffed(settings, registry, ahead))
        worker = await stack.enter_async_context(hand_worker(settings))
        asked = await ask()
        job = await next_run(worker)
        await rescue.run()
        worker.post(finished(job))
        assert (await asked.end()).attempt == 1


async def test_a_leaving_worker_host_ends_what_runs_and_hands_back_the_rest(
    ask, settings, registry, ledger
) -> None:
    leaving = WorkerHost(settings, fingerprint_of(registry, settings), ledger, ("text",))
    await leaving.start(children=False)
    async with hand_worker(settings, slots=2, socket=leaving.socket) as worker:
        quick, slow = await ask("quick"), await ask("slow")
        first, second = await next_run(worker), await next_run(worker)
        closing = asyncio.create_task(leaving.close(grace=3.0))
        await asyncio.sleep(0.1)
        worker.post(finished(first))
        assert isinstance(await quick.end(), Finished)
        third = await ask("third")
        await closing
    assert await every(ledger, "SELECT * FROM workers") == []
    async with staffed(settings, registry, ledger), hand_worker(settings) as worker:
        job = await next_run(worker)
        assert (job.id, job.attempt, job.alone) == (second.id, 2, False)
        worker.post(finished(job))
        worker.post(finished(await next_run(worker)))
        for asked in (slow, third):
            assert isinstance(await asked.end(), Finished)


async def test_what_is_refused_is_watched_no_more(settings, registry, ledger, make_request) -> None:
    full = settings.model_copy(update={"max_waiting": 0})
    queue = PostgresQueue(full, fingerprint_of(registry, settings), ledger)
    engine = LocalEngine(registry, ledger, queue, max_length=1200)
    for _ in range(3):
        with pytest.raises(BusyError):
            await anext(events_of(engine, make_request()))
    assert queue.followed == 0


async def test_cut_connections_lose_no_wake_up(
    ask, worker_host, settings, postgres_server, postgres_database
) -> None:
    name = sa.make_url(postgres_database).database
    async with hand_worker(settings) as worker:
        for number in range(3):
            asked = await ask(f"Story {number}.")
            job = await next_run(worker)
            await asyncio.to_thread(postgres_server.kick, name)
            worker.post(finished(job))
            assert isinstance(await asked.end(), Finished)


async def test_a_job_of_a_restored_ledger_gets_its_ticket(
    ask, worker_host, settings, ledger, rescue
) -> None:
    asked = await ask()
    await every(ledger, "DELETE FROM tickets")
    await rescue.run()
    async with hand_worker(settings) as worker:
        worker.post(finished(await next_run(worker)))
        assert isinstance(await asked.end(), Finished)


async def test_a_job_that_was_forgotten_while_it_waited_is_nobodys(
    ask, worker_host, settings, ledger
) -> None:
    gone, kept = await ask("gone"), await ask("kept")
    name = gone.events[0].job
    await every(ledger, "DELETE FROM deliveries WHERE job_id = :job", job=name)
    await every(ledger, "DELETE FROM jobs WHERE id = :job", job=name)
    async with hand_worker(settings) as worker:
        job = await next_run(worker)
        assert job.id == kept.events[0].job
        worker.post(finished(job))
        assert isinstance(await kept.end(), Finished)
    assert (await gone.end()).reason == "its row was deleted"


async def test_what_is_forgotten_while_it_runs_stops_and_leaves_nothing(
    ask, worker_host, settings, ledger, rescue
) -> None:
    async with hand_worker(settings) as worker:
        asked = await ask()
        job = await next_run(worker)
        await told(asked, Started)
        await every(ledger, "DELETE FROM deliveries WHERE job_id = :job", job=job.id)
        await every(ledger, "DELETE FROM jobs WHERE id = :job", job=job.id)
        worker_host.look()
        assert await asyncio.wait_for(worker.receive(), 60) == Stop(job=job.id)
        await rescue.run()
        assert await every(ledger, "SELECT job_id FROM tickets") == []
        asked.leave()


async def test_a_worker_that_cannot_serve_says_why_and_the_jobs_wait_for_one_that_can(
    ask, engine, worker_host, settings, registry, ledger
) -> None:
    link = await connect(str(worker_host.socket))
    await link.send(Hello(medium="text", pid=1))
    await link.send(Serving(reason="The base is missing."))
    await link.close()
    while not any(w.state == "unfit" for w in (await engine.overview()).workers):
        await asyncio.sleep(0.02)
    asked = await ask()
    await told(asked, Loading, lambda event: event.what == UNSERVED)
    assert "The base is missing." in (await engine.overview()).unserved[0]
    async with (
        staffed(settings, registry, ledger) as other,
        hand_worker(settings, socket=other.socket) as worker,
    ):
        worker.post(finished(await next_run(worker)))
        assert isinstance(await asked.end(), Finished)


async def test_a_ticket_that_its_station_knows_nothing_of_goes_back(
    ask, worker_host, settings, ledger
) -> None:
    """As after a claim whose commit was not answered."""
    asked = await ask()
    number = worker_host.registrations["text"].number
    claim = await Claims(ledger).claim(number, worker_host.registrations["text"].queues)
    assert claim is not None and claim[0].job.attempt == 1
    async with hand_worker(settings) as worker:
        run = asyncio.create_task(next_run(worker))
        while not run.done():
            worker_host.look()
            await asyncio.sleep(0.2)
        job = await run
        assert (job.id, job.attempt, job.alone) == (claim[0].job.id, 2, False)
        worker.post(finished(job))
        await asked.end()


async def test_long_texts_and_previews_arrive_whole(ask, worker_host, settings) -> None:
    async with hand_worker(settings) as worker:
        asked = await ask()
        job = await next_run(worker)
        long, preview = "It rained. " * 4000, bytes(range(256)) * 100
        worker.post(Text(job=job.id, attempt=1, text=long, tokens=9))
        assert (await told(asked, Text)).text == long
        worker.post(Image(job=job.id, attempt=1, step=1, steps=2, preview=preview))
        assert (await told(asked, Image)).preview == preview
        worker.post(finished(job))
        await asked.end()


async def test_progress_is_coalesced(ask, worker_host, settings) -> None:
    async with hand_worker(settings) as worker:
        asked = await ask()
        job = await next_run(worker)
        for number in range(1, 201):
            worker.post(Text(job=job.id, attempt=1, text="word " * number, tokens=number))
            await asyncio.sleep(0.002)
        await told(asked, Text, lambda event: event.tokens == 200)
        worker.post(finished(job))
        await asked.end()
    texts = [event.tokens for event in asked.events if isinstance(event, Text)]
    assert len(texts) < 50 and texts == sorted(texts)


async def test_a_process_that_has_started_hears(settings, registry, ledger) -> None:
    hearing = (
        "SELECT query FROM pg_stat_activity "
        "WHERE datname = current_database() AND query LIKE 'LISTEN%'"
    )
    async with asking(settings, registry, ledger):
        assert len(await every(ledger, hearing)) == 1


async def test_another_process_can_follow_and_both_hear_the_end(
    ask, worker_host, settings, registry, ledger
) -> None:
    asked = await ask()
    job = asked.events[0].job
    async with (
        hand_worker(settings) as worker,
        asking(settings, registry, ledger) as other,
    ):
        follower = Asked(other, None, other.follow(job))
        await told(follower, Queued)
        run = await next_run(worker)
        worker.post(Text(job=job, attempt=1, text="It", tokens=1))
        await told(follower, Text)
        worker.post(finished(run))
        assert await asked.end() == await follower.end()


async def test_two_stations_share_the_work_and_a_crash_in_one_is_that_jobs_alone(
    ask, settings, registry, ledger
) -> None:
    async with AsyncExitStack() as stack:
        workers = []
        for _ in range(2):
            worker_host = await stack.enter_async_context(staffed(settings, registry, ledger))
            workers.append(
                await stack.enter_async_context(hand_worker(settings, socket=worker_host.socket))
            )
        asked = [await ask(f"Story {n}.") for n in range(2)]
        jobs = [await next_run(worker) for worker in workers]
        assert {job.id for job in jobs} == {a.events[0].job for a in asked}
        for worker, job in zip(workers, jobs, strict=True):
            worker.post(finished(job))
        for one in asked:
            await one.end()


@given(st.text(max_size=9000), st.integers(min_value=1, max_value=9))
def test_no_note_is_longer_than_it_may_be_and_none_can_be_read_without_the_key(
    text: str, attempt: int
) -> None:
    vault = Vault(b"k" * 32)
    event = Text(job="01JOB", attempt=attempt, text=text, tokens=1)
    note = event_note(event, vault)
    if note is not None:
        assert len(note) <= MAX_NOTE_BYTES
        assert read_event(note, vault) == event
        assert read_event(note, Vault(b"x" * 32)) is None
        assert text not in str(base64.b64decode(note[2:])) or len(text) < 4
    else:
        assert len(event.text.encode()) > MAX_NOTE_BYTES / 10


@given(st.text(max_size=200))
def test_a_queues_name_fits_a_channel(base: str) -> None:
    name = f"image.{safe(base)}.12345678"
    assert 1 <= len(safe(base)) <= BASE_LETTERS
    assert len(queue_channel(name).encode()) <= CHANNEL_BYTES

"""Whatever is killed, crashes or is cut off: what was accepted ends once, with one answer.

The long forms are `python -m tests.benchmarks queue_kills` and `soak`.
"""

import asyncio
import random
import signal
import time
from contextlib import AsyncExitStack
from pathlib import Path

import postgres
import pytest
import sqlalchemy as sa
from fleet import Cable, Fleet, settle, verdict
from queueing import Asked, asking, finished, hand_worker, next_run, staffed, told

from engine.events import Finished, Started, Text
from engine.ledger.ledger import Ledger
from engine.ledger.storage import open_database, upgrade
from engine.process.bootstrap import open_engine
from engine.settings import Settings
from engine.workers.protocol import Link, Run

KILLS = 5
ANSWERS = 3  # between two kills of workers: three deaths alone are a job's own fault


@pytest.mark.slow
@pytest.mark.databases("postgres")
def test_kills_of_bots_stations_and_workers_lose_no_job_and_end_none_twice(
    settings: Settings, tmp_path: Path
) -> None:
    environment = {
        "PASTICHE_DATABASE_URL": settings.database_url,
        "PASTICHE_LOST_AFTER": "3",
        "PASTICHE_TEXT_ENGINE": "auto",
    }
    fleet = Fleet(tmp_path, environment, bots=2, worker_hosts=2)
    draw = random.Random(7)
    try:
        fleet.get_on()
        while sum(fleet.kills.values()) < KILLS:
            if fleet.kill(draw):
                fleet.get_on(ANSWERS)
        fleet.stop("bot")
        settle(fleet, settings.database_url)
        fleet.stop("host", signal.SIGTERM)
    finally:
        fleet.stop()
    found = verdict(fleet, settings.database_url)
    print(f"\n{dict(fleet.kills)} {found}")
    assert found["accepted"] > KILLS
    assert found["finished"] == found["jobs"]
    assert (found["lost"], found["two answers"], found["dead"]) == (0, 0, 0)
    until = time.monotonic() + 10  # a host that was killed last is held for alive for 3 s
    while (left := left_over(settings.database_url)) and time.monotonic() < until:
        time.sleep(0.2)
    assert left == 0


def left_over(url: str) -> int:
    """Rows that the queue should not have any more when everything is answered and has left."""
    database = sa.create_engine(url, poolclass=sa.NullPool)
    with database.connect() as connection:
        counts = [
            int(connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) or 0)
            for table in (
                "tickets",
                "progress",
                "workers WHERE seen_at > extract(epoch from now()) - 3",
            )
        ]
    database.dispose()
    return sum(counts)


@pytest.mark.slow
async def test_a_crash_of_the_server_loses_nothing_and_everybody_comes_back(
    settings: Settings, make_request
) -> None:
    with postgres.running(synced=True) as server:
        shared = settings.model_copy(update={"database_url": server.url(server.create())})
        upgrade(shared)
        async with open_engine(shared) as engine:
            warm = Asked(engine, make_request("Warm."))
            assert isinstance(await warm.end(), Finished)
            for number in range(2):
                slow = Asked(engine, make_request(f"Number {number} ::slow:: goes on."))
                waiting = [Asked(engine, make_request(f"Wait {n}.")) for n in range(6)]
                await told(slow, Text)
                for asked in waiting:
                    await asked.accepted.wait()
                await asyncio.to_thread(server.stop, signal.SIGQUIT)
                await asyncio.to_thread(server.start)
                for asked in (slow, *waiting):
                    final = await asyncio.wait_for(asked.end(), 30)
                    assert isinstance(final, Finished)
                after = Asked(engine, make_request("After."))
                assert isinstance(await after.end(), Finished)


async def every_run(worker: Link) -> None:
    """Finish each job as it is given: anew, too, where the sign of life came too late."""
    while True:
        message = await worker.receive()
        if isinstance(message, Run):
            await worker.send(Started(job=message.job.id, attempt=message.job.attempt))
            worker.post(finished(message.job))


@pytest.mark.slow
@pytest.mark.parametrize("silently", [False, True], ids=["cut", "silent"])
@pytest.mark.databases("postgres")
async def test_a_station_that_is_cut_off_in_mid_job_answers_too_late_and_comes_back(
    settings, registry, ledger, make_request, postgres_server, silently: bool
) -> None:
    quick = settings.model_copy(update={"lost_after": 2.0})
    cable = Cable(postgres_server.port)
    address = sa.make_url(settings.database_url)
    query = {"tcp_user_timeout": "2000", "connect_timeout": "3"}
    url = address.set(port=cable.port, query=query).render_as_string(hide_password=False)
    far = quick.model_copy(update={"database_url": url})
    try:
        async with AsyncExitStack() as stack:
            engine = await stack.enter_async_context(asking(quick, registry, ledger))
            distant = Ledger(await open_database(far), far.media)
            stack.push_async_callback(distant.close)
            first = await stack.enter_async_context(staffed(far, registry, distant))
            worker = await stack.enter_async_context(hand_worker(far, socket=first.socket))
            asked = Asked(engine, make_request())
            job = await next_run(worker)
            await told(asked, Started)
            (cable.freeze if silently else cable.cut)()
            second = await stack.enter_async_context(staffed(quick, registry, ledger))
            other = await stack.enter_async_context(hand_worker(quick, socket=second.socket))
            # frozen amid a transaction it holds the ticket until the server ends that, after 60 s
            again = await next_run(other, seconds=120)
            assert (again.id, again.attempt, again.alone) == (job.id, 2, False)
            worker.post(finished(job, "too late"))
            other.post(finished(again, "in time"))
            final = await asked.end()
            assert isinstance(final, Finished) and final.text == "in time"
            cable.mend()
            await other.close()
            more = Asked(engine, make_request("More."))
            answering = asyncio.create_task(every_run(worker))
            assert isinstance(await asyncio.wait_for(more.end(), 60), Finished)
            answering.cancel()
            async with ledger.reading() as connection:
                rows = await connection.execute(sa.text("SELECT count(*) FROM outputs"))
                assert rows.scalar_one() == 2
    finally:
        cable.close()

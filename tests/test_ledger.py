"""The record: what is written, what is sealed, what is refused."""

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import replace

import pytest
import sqlalchemy as sa
from looking import every_byte, look

from engine.engine import LocalEngine
from engine.errors import LedgerError
from engine.events import Cancelled, Failed, Finished
from engine.ledger.ledger import Ledger, new_id
from engine.ledger.tables import JobRow
from engine.plan.cards import Registry
from engine.plan.job import Job, Request
from engine.plan.router import route
from engine.queues.embedded import EmbeddedQueue
from engine.settings import Settings

pytestmark = pytest.mark.databases("sqlite", "postgres")

CANARY = "Zyzzyva the canary sat alone."


@pytest.fixture
def job_of(registry: Registry, ledger: Ledger) -> Callable[[Request], Job]:
    """The job that the engine would make of a request."""
    queue = EmbeddedQueue(ledger, max_waiting=9)
    engine = LocalEngine(registry, ledger, queue, max_length=1200)
    return lambda request: engine.plan(request, new_id()).job


@pytest.fixture
async def accepted(ledger, registry, job_of, make_request) -> Job:
    request = make_request(CANARY, asker="user-4711", place="place-4712")
    job = job_of(request)
    await ledger.accept(request, route("story", CANARY, None, registry), job)
    return job


def _finished(job: Job, text: str = "So it was.") -> Finished:
    return Finished(
        job=job.id,
        attempt=job.attempt,
        text=text,
        tokens_in=5,
        tokens_out=3,
        first_token_seconds=0.1,
        seconds=0.5,
        base_digest="sha256:b",
        adapter_digest="sha256:a",
        notes=("cut",),
    )


async def test_nothing_typed_and_no_platform_id_lies_open_on_disk(
    ledger, settings, accepted
) -> None:
    await ledger.finish(_finished(accepted, "The canary answered."))
    raw = every_byte(settings)
    assert accepted.id.encode() in raw
    for canary in (b"Zyzzyva", b"canary", b"user-4711", b"place-4712"):
        assert canary not in raw


async def test_an_answer_reads_back_as_it_was_written(ledger, accepted) -> None:
    assert await ledger.final(accepted.id) is None
    assert await ledger.finish(_finished(accepted))
    final = await ledger.final(accepted.id)
    assert isinstance(final, Finished)
    assert (final.text, final.notes, final.base_digest) == ("So it was.", ("cut",), "sha256:b")
    assert final.seconds == pytest.approx(0.5, abs=1e-3)
    last = await ledger.last_answer("terminal", "user-4711", "place-4712")
    assert last is not None
    assert (last.request.text, last.text, last.state) == (CANARY, "So it was.", "finished")
    assert last.route.rule == "default"


async def test_a_job_has_one_final_answer_and_the_first_one_stays(ledger, accepted) -> None:
    assert await ledger.finish(_finished(accepted, "first"))
    assert not await ledger.finish(_finished(accepted, "second"))
    assert not await ledger.finish(Cancelled(job=accepted.id, attempt=1))
    final = await ledger.final(accepted.id)
    assert isinstance(final, Finished) and final.text == "first"


async def test_an_attempt_that_was_given_up_can_write_nothing(ledger, accepted) -> None:
    second = replace(accepted, attempt=2, alone=True)
    await ledger.requeued(second, deaths_alone=0)
    assert not await ledger.finish(_finished(accepted, "from the dead"))
    assert await ledger.finish(_finished(second, "from the living"))


async def test_a_servers_long_name_for_its_model_keeps_no_answer_off_the_record(
    ledger, accepted
) -> None:
    long = replace(_finished(accepted), base_digest=f"server:/models/{'x' * 200}")
    assert await ledger.finish(long)
    final = await ledger.final(accepted.id)
    assert isinstance(final, Finished)
    assert final.base_digest.startswith("server:/models/x")


async def test_unfinished_jobs_come_back_whole_and_in_order(
    ledger, registry, job_of, make_request, accepted
) -> None:
    request = make_request("Later.")
    later = job_of(request)
    await ledger.accept(request, route("story", "Later.", None, registry), later)
    await ledger.started(accepted.id, 1)
    assert [job for job, *_ in await ledger.unfinished()] == [accepted, later]
    assert [job for job, *_ in await ledger.unfinished(later.id)] == [later]
    await ledger.finish(Failed(job=accepted.id, attempt=1, message="no", reason="why"))
    assert [job for job, *_ in await ledger.unfinished()] == [later]


async def test_the_same_person_is_one_asker_and_places_do_not_mix(
    ledger, registry, job_of, make_request, settings, accepted
) -> None:
    request = make_request("Elsewhere.", asker="user-4711", place="another")
    await ledger.accept(request, route("story", "Elsewhere.", None, registry), job_of(request))
    assert look(settings, "select count(*) from askers") == [(1,)]
    last = await ledger.last_answer("terminal", "user-4711", "place-4712")
    assert last is not None and last.request.text == CANARY
    assert await ledger.last_answer("terminal", "nobody", "another") is None


@pytest.mark.parametrize("times", [1, 2, 3])  # whoever ends a task asks again
async def test_a_write_that_is_cancelled_while_it_reads_is_undone_and_locks_nobody_out(
    ledger, accepted, times
) -> None:
    async def broken_off() -> None:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()

        def cancel(more: int) -> None:
            task.cancel()
            if more:  # once the one before has arrived
                loop.call_soon(loop.call_soon, cancel, more - 1)

        async with ledger.writing() as connection:
            await connection.execute(sa.update(JobRow).values(error="half"))
            sa.event.listen(
                connection.sync_connection, "before_cursor_execute", lambda *_: cancel(times - 1)
            )
            await connection.scalar(sa.select(JobRow.state))

    with pytest.raises(asyncio.CancelledError) as held:  # and with it the frames and their cursor
        await asyncio.create_task(broken_off())
    assert await ledger.change(sa.update(JobRow).values(alone=True)) == 1, held
    assert await ledger.scalar(sa.select(JobRow.error)) is None


@pytest.mark.databases("sqlite")
async def test_a_locked_ledger_accepts_nothing_and_says_so(
    ledger, registry, job_of, make_request, settings, monkeypatch
) -> None:
    request = make_request("Locked out.")
    job = job_of(request)
    holder = sqlite3.connect(settings.ledger_file, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerError, match="cannot be written: database is locked"):
        await ledger.accept(request, route("story", "Locked out.", None, registry), job)
    holder.rollback()
    holder.close()
    assert await ledger.unfinished() == []


@pytest.mark.databases("sqlite")
async def test_a_full_disk_accepts_nothing_and_says_so(
    ledger, registry, job_of, make_request, settings: Settings
) -> None:
    request = make_request("x" * 20_000)
    async with ledger._read.connect() as connection:  # the one connection of the pool
        pages = (await connection.exec_driver_sql("PRAGMA page_count")).scalar()
        await connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(LedgerError, match="full"):
        for _ in range(5):
            await ledger.accept(request, route("story", "x", None, registry), job_of(request))
    rows = await ledger.unfinished()
    assert len(rows) < 5

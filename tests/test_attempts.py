"""A worker and the attempts of one job: an old one winds down while the new one begins."""

import asyncio
from dataclasses import replace

import sqlalchemy as sa

from engine.engine import LocalEngine
from engine.events import Cancelled, Failed, Finished, Text
from engine.ledger.ledger import new_id
from engine.ledger.tables import Delivery, JobRow
from engine.queues.embedded import EmbeddedQueue
from engine.settings import make_runtime
from engine.workers.protocol import MAX_LINE, Link, Run, Stop
from engine.workers.worker import work


async def test_an_attempt_that_winds_down_takes_no_stop_from_the_next(
    settings, registry, ledger, make_request
) -> None:
    engine = LocalEngine(registry, ledger, EmbeddedQueue(ledger, max_waiting=9), max_length=1200)
    request = make_request("one ::slow:: two three four")
    first = engine.plan(request, new_id()).job
    ends: asyncio.Queue[object] = asyncio.Queue()

    async def own(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Link(reader, writer)
        await link.receive(), await link.receive()  # Hello, Serving
        link.post(Run(job=first))
        while not isinstance(await link.receive(), Text):
            pass
        link.post(Stop(job=first.id))
        link.post(Run(job=replace(first, attempt=2)))
        while not isinstance(heard := await link.receive(), Cancelled | Finished):
            pass
        ends.put_nowait(heard)
        link.post(Stop(job=first.id))
        while not isinstance(heard := await link.receive(), Cancelled | Finished | Failed):
            pass
        ends.put_nowait(heard)
        await link.close()

    make_runtime(settings)
    socket = settings.runtime / "w.sock"
    async with await asyncio.start_unix_server(own, str(socket), limit=MAX_LINE):
        async with asyncio.timeout(60):
            await work(settings, "text", socket)
            ended = [await ends.get() for _ in range(2)]
    assert [(type(end), end.attempt) for end in ended] == [(Cancelled, 1), (Cancelled, 2)]


async def test_a_job_whose_row_was_deleted_ends_for_who_follows_and_holds_no_place(
    registry, ledger, make_request
) -> None:
    queue = EmbeddedQueue(ledger, max_waiting=9)
    engine = LocalEngine(registry, ledger, queue, max_length=1200)
    plan = engine.plan(make_request("It rained."))
    await engine.ask(plan)
    following = aiter(engine.follow(plan.job.id))
    await anext(following)
    async with ledger.writing() as connection:
        await connection.execute(sa.delete(Delivery))
        await connection.execute(sa.delete(JobRow))
    assert await queue.cancel(plan.job.id)
    async with asyncio.timeout(5):
        assert isinstance([event async for event in following][-1], Cancelled)
    assert not queue.dispatcher.entries
    assert [type(event) async for event in engine.follow(plan.job.id)] == [Failed]
    await queue.close()

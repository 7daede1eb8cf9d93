"""The queue on PostgreSQL (fsync on): how soon an idle worker begins, how soon a request is accepted
with many waiting, and many jobs through several worker hosts."""

import argparse
import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import sqlalchemy as sa

from engine.engine import LocalEngine
from engine.ledger.ledger import Ledger, new_id
from engine.ledger.storage import open_database, upgrade
from engine.plan.cards import Registry, load_registry
from engine.plan.job import Request
from engine.plan.router import route
from engine.process.bootstrap import open_engine
from engine.queues.postgres.queue import PostgresQueue
from engine.settings import Settings
from engine.workers.fingerprint import fingerprint_of
from tests import postgres
from tests.benchmarks.figures import Figure, clock, middle, percentile
from tests.fleet import PROGRAM, unfinished
from tests.following import events_of

OPTIONS = argparse.ArgumentParser(prog="queue_pg", description=__doc__)
OPTIONS.add_argument("--asks", type=int, default=100, help="for the latencies (100)")
OPTIONS.add_argument("--waiting", type=int, default=1000, help="jobs queued meanwhile (1000)")
OPTIONS.add_argument("--jobs", type=int, default=400, help="through the worker hosts (400)")
OPTIONS.add_argument("--hosts", type=int, default=4)
WARM_UP = 20
GUEST_EVERY = 50  # among a flood, one of so many is somebody else's
IDLE_SECONDS = 5.0


def run(folder: Path, options: argparse.Namespace) -> list[Figure]:
    """Milliseconds, and jobs a second."""
    with postgres.running(synced=True) as server:
        settings = Settings(
            home=folder / "home",
            key_file=folder / "key",
            backend="echo",
            database_url=server.url(server.create()),
            max_waiting=options.waiting + options.jobs + 1000,
        )
        upgrade(settings)
        os.environ.pop("PASTICHE_CONFIG", None)
        figures = _latency(settings, options)
        figures += asyncio.run(_accepting(settings, options))
        return figures + asyncio.run(_many(settings, options))


@contextmanager
def _worker_hosts(settings: Settings, count: int) -> Iterator[list[psutil.Process]]:
    environment = os.environ | settings.environment()
    environment |= {"PASTICHE_KEY_FILE": str(settings.key_file), "OMP_NUM_THREADS": "1"}
    command = (*PROGRAM, "worker", "--media", "text")
    running = [subprocess.Popen(command, env=environment) for _ in range(count)]
    try:
        yield [psutil.Process(process.pid) for process in running]
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(60)


def _request(text: str, asker: str = "bench") -> Request:
    return Request(command="story", text=text, platform="bench", asker=asker, place="bench")


def _latency(settings: Settings, options: argparse.Namespace) -> list[Figure]:
    with _worker_hosts(settings, 1) as (worker_host,), clock() as taken:
        asked, accepted = asyncio.run(_ask(settings, options.asks))
        before = _cpu(worker_host)
        time.sleep(IDLE_SECONDS)
        idle = 100 * (_cpu(worker_host) - before) / IDLE_SECONDS
    spent = {"wall_seconds": taken.wall, "cpu_seconds": taken.cpu}
    p50, p99 = middle(accepted), percentile(accepted, 0.99)
    return [
        Figure(name="accepted to started, p50", value=p50, unit="ms", against="aim 20 ms", **spent),
        Figure(name="accepted to started, p99", value=p99, unit="ms"),
        Figure(name="asked to started, p50", value=middle(asked), unit="ms", against="with commit"),
        Figure(
            name="an idle worker host", value=idle, unit="% of a core", against="with its worker"
        ),
    ]


def _cpu(process: psutil.Process) -> float:
    return sum(sum(one.cpu_times()[:2]) for one in (process, *process.children(recursive=True)))


async def _ask(settings: Settings, count: int) -> tuple[list[float], list[float]]:
    asked, accepted = [], []
    async with open_engine(settings, workers=False) as engine:
        for number in range(WARM_UP + count):
            began, committed = time.perf_counter(), 0.0
            async for event in events_of(engine, _request(f"Number {number}.")):
                now = time.perf_counter()
                if event.kind == "queued" and not committed:
                    committed = now
                if event.kind == "started" and number >= WARM_UP:
                    asked.append(1000 * (now - began))
                    accepted.append(1000 * (now - committed))
    return asked, accepted


async def _accepting(settings: Settings, options: argparse.Namespace) -> list[Figure]:
    """How soon `/queue`'s first line comes while many wait; and how soon a cancel is answered."""
    times, cancels = [], []
    async with open_engine(settings, workers=False) as engine:
        assert isinstance(engine, LocalEngine)
        await _fill(settings, options.waiting)
        for number in range(options.asks):
            began = time.perf_counter()
            events = events_of(engine, _request(f"One more {number}.", f"asker {number}"))
            first = await anext(events)
            times.append(1000 * (time.perf_counter() - began))
            await events.aclose()
            began = time.perf_counter()
            assert await engine.cancel(first.job)
            cancels.append(1000 * (time.perf_counter() - began))
        for waiting in (await engine.status()).waiting:
            await engine.cancel(waiting.job)
    where = f"{options.waiting} waiting"
    return [
        Figure(name="asked to accepted, p50", value=middle(times), unit="ms", against=where),
        Figure(
            name="asked to accepted, p99",
            value=percentile(times, 0.99),
            unit="ms",
            against=f"{where}; aim 1000 ms",
        ),
        Figure(
            name="cancel to its answer, p99",
            value=percentile(cancels, 0.99),
            unit="ms",
            against=f"{where}; aim 200 ms",
        ),
    ]


async def _fill(settings: Settings, count: int, guest_every: int = 0) -> float:
    """Accept so many jobs; returns how many a second."""
    registry: Registry = load_registry(settings.expert_roots, settings.profile)
    ledger = Ledger(await open_database(settings), settings.media)
    queue = PostgresQueue(settings, fingerprint_of(registry, settings), ledger)
    engine = LocalEngine(registry, ledger, queue, max_length=settings.max_length)
    turn = asyncio.Semaphore(4)

    async def one(number: int) -> None:
        guest = guest_every and number % guest_every == guest_every - 1
        request = _request(f"Job {number}.", f"guest {number}" if guest else "flood")
        chosen = route(request.command, request.text, request.style, registry)
        async with turn:
            await queue.accept(request, chosen, engine.plan(request, new_id()).job)

    began = time.perf_counter()
    await asyncio.gather(*(one(number) for number in range(count)))
    taken = time.perf_counter() - began
    await ledger.close()
    return count / taken


async def _many(settings: Settings, options: argparse.Namespace) -> list[Figure]:
    """A flood of one asker with guests among it, through all worker hosts."""
    database = sa.create_engine(settings.database_url, poolclass=sa.NullPool)
    with database.begin() as connection:
        for table in ("outputs", "deliveries", "jobs", "requests"):
            connection.execute(sa.text(f"DELETE FROM {table}"))
    rate = await _fill(settings, options.jobs, GUEST_EVERY)
    began = time.perf_counter()
    with _worker_hosts(settings, options.hosts):
        while await asyncio.to_thread(unfinished, settings.database_url):
            await asyncio.sleep(0.2)
        taken = time.perf_counter() - began
    with database.connect() as connection:
        query = (
            "SELECT askers.id, jobs.state, jobs.attempt, "
            "(SELECT count(*) FROM outputs WHERE outputs.job_id = jobs.id) FROM jobs "
            "JOIN requests ON requests.id = jobs.request_id "
            "JOIN askers ON askers.id = requests.asker_id ORDER BY jobs.started_at"
        )
        rows = connection.execute(sa.text(query)).all()
    database.dispose()
    flood = max({row[0] for row in rows}, key=[row[0] for row in rows].count)
    late = [place for place, row in enumerate(rows) if row[0] != flood]
    done = sum(row[1] == "finished" for row in rows)
    return [
        Figure(name="accepted a second, 4 at a time", value=rate, unit="jobs/s"),
        Figure(
            name=f"{options.jobs} jobs through {options.hosts} worker hosts",
            value=options.jobs / taken,
            unit="jobs/s",
            against="worker hosts' start included",
            wall_seconds=taken,
        ),
        Figure(name="not answered", value=options.jobs - done, unit="", against="aim 0"),
        Figure(
            name="answered twice", value=sum(row[3] > 1 for row in rows), unit="", against="aim 0"
        ),
        Figure(name="begun twice", value=sum(row[2] > 1 for row in rows), unit="", against="aim 0"),
        Figure(
            name="the last guest's place",
            value=max(late, default=0),
            unit="",
            against=f"of {options.jobs}; {len(late)} guests, aim {2 * len(late)} and those running",
        ),
    ]

"""What one request costs each database: transactions, changed rows, log, and bytes that stay.

Feeds docs/capacity.md. Through the whole line (accept, queue, worker, answer, delivered) on the echo
backend, with 190 words typed and answered, which is what 250 tokens are.
"""

import argparse
import asyncio
import os
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from engine.events import Finished, Queued
from engine.ledger.storage import upgrade
from engine.plan.job import Request
from engine.process.bootstrap import open_engine
from engine.settings import Settings
from tests import postgres
from tests.benchmarks.figures import Figure, clock
from tests.following import events_of

OPTIONS = argparse.ArgumentParser(prog="database_cost", description=__doc__)
OPTIONS.add_argument("--requests", type=int, default=200, help="for each database (200)")
WORDS = 190
AT_ONCE = 4
STATISTICS_SECONDS = 12.0  # the server gathers its counters at most so late

_COUNTS = sa.text(
    "SELECT xact_commit + xact_rollback AS transactions,"
    " tup_inserted + tup_updated + tup_deleted AS rows,"
    " pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS log,"
    " pg_database_size(current_database()) AS size"
    " FROM pg_stat_database WHERE datname = current_database()"
)


def run(folder: Path, options: argparse.Namespace | None = None) -> list[Figure]:
    """For each request, idle time's own counts taken away."""
    requests = (options or OPTIONS.parse_args([])).requests
    os.environ.pop("PASTICHE_CONFIG", None)
    figures = _sqlite(folder / "sqlite", requests)
    with postgres.running(synced=True) as server:
        url = server.url(server.create())
        return figures + _postgres(folder / "postgres", url, requests)


def _settings(folder: Path, url: str = "") -> Settings:
    return Settings(
        home=folder / "home", key_file=folder / "key", backend="echo", database_url=url, threads=1
    )


def _sqlite(folder: Path, requests: int) -> list[Figure]:
    settings = _settings(folder)
    upgrade(settings)

    async def measured() -> tuple[int, float, float]:
        async with open_engine(settings) as engine:
            await _ask(engine, 20)
            before = settings.ledger_file.stat().st_size
            with clock() as taken:
                seconds = await _ask(engine, requests)
        return settings.ledger_file.stat().st_size - before, taken.cpu, seconds

    size, cpu, seconds = asyncio.run(measured())
    return [
        Figure(name="SQLite: bytes that stay", value=size / requests / 1e3, unit="kB a request"),
        Figure(
            name="SQLite: the bot's own processor time",
            value=1e3 * cpu / requests,
            unit="ms a request",
            wall_seconds=seconds,
            cpu_seconds=cpu,
        ),
    ]


def _postgres(folder: Path, url: str, requests: int) -> list[Figure]:
    settings = _settings(folder, url)
    upgrade(settings)
    database = sa.create_engine(url, poolclass=sa.NullPool)

    async def counted() -> dict[str, float]:
        await asyncio.sleep(STATISTICS_SECONDS)
        with database.connect() as connection:
            row = connection.execute(_COUNTS).mappings().one()
        return {name: float(value) for name, value in row.items()}

    async def measured() -> tuple[dict[str, float], float, float]:
        async with open_engine(settings) as engine:
            await _ask(engine, 20)
            first = await counted()
            idle = await counted()
            with clock() as taken:
                seconds = await _ask(engine, requests)
            last = await counted()
        waited = 1 + seconds / STATISTICS_SECONDS
        cost = {
            name: (last[name] - idle[name] - waited * (idle[name] - first[name])) / requests
            for name in last
        }
        return cost, taken.cpu, seconds

    cost, cpu, seconds = asyncio.run(measured())
    database.dispose()
    return [
        Figure(name="PostgreSQL: transactions", value=cost["transactions"], unit="a request"),
        Figure(name="PostgreSQL: rows changed", value=cost["rows"], unit="a request"),
        Figure(name="PostgreSQL: log written", value=cost["log"] / 1e3, unit="kB a request"),
        Figure(
            name="PostgreSQL: bytes that stay",
            value=cost["size"] / 1e3,
            unit="kB a request",
            against="before vacuum",
        ),
        Figure(
            name="PostgreSQL: bot's and worker host's own processor time",
            value=1e3 * cpu / requests,
            unit="ms a request",
            wall_seconds=seconds,
            cpu_seconds=cpu,
        ),
    ]


async def _ask(engine: Any, count: int) -> float:
    """So many requests, a few at once; returns seconds."""
    turn = asyncio.Semaphore(AT_ONCE)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def one(number: int) -> None:
        words = " ".join(f"word{(number * 7 + n) % 997}" for n in range(WORDS))
        request = Request(
            command="story", text=words, platform="bench", asker=f"asker {number % 50}",
            place="bench", length=WORDS,
        )  # fmt: skip
        async with turn:
            async for event in events_of(engine, request):
                if isinstance(event, Queued):
                    job = event.job
                if isinstance(event, Finished):
                    await engine.delivered(job)

    await asyncio.gather(*(one(number) for number in range(count)))
    return loop.time() - began

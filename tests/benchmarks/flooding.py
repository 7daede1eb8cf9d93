"""Everybody else while one person floods, and how soon a request is acknowledged in a long queue."""

import asyncio
import time
from contextlib import aclosing
from pathlib import Path

from talking import replies_of

from bot.chat import make_context
from bot.service.request import Who
from bot.service.service import ChatService
from bot.settings import PlatformSettings
from engine.errors import AskerError
from engine.events import Queued
from engine.moderation.chain import usual
from engine.process.bootstrap import open_engine
from engine.process.services import open_services
from engine.settings import Settings
from tests.benchmarks.figures import Figure, clock, percentile

PEOPLE = 20
EACH = 6
PAUSE = 0.5  # seconds between a person's answer and their next request
TEXT = "word " * 40
QUEUED = 1000
ACKNOWLEDGED = 100


def run(folder: Path) -> list[Figure]:
    """Seconds from request to answer of the others; milliseconds to the acknowledgement."""
    settings = Settings(
        home=folder / "home", backend="echo", key_file=folder / "key", max_waiting=5000
    )
    with clock() as taken:
        alone, flooded, refused, acks = asyncio.run(_measure(settings))
    ratio = percentile(flooded, 0.95) / percentile(alone, 0.95)
    return [
        Figure(
            name="others' p95 without a flood",
            value=percentile(alone, 0.95),
            unit="s",
            wall_seconds=taken.wall,
            cpu_seconds=taken.cpu,
        ),
        Figure(name="others' p95 with a flood", value=percentile(flooded, 0.95), unit="s"),
        Figure(name="the one over the other", value=ratio, unit="times", against="aim 1.5"),
        Figure(name="the flood's requests refused", value=float(refused), unit="requests"),
        Figure(
            name=f"acknowledged with {QUEUED} queued, p99",
            value=1000 * percentile(acks, 0.99),
            unit="ms",
            against="aim 1000 ms",
        ),
    ]


async def _measure(settings: Settings) -> tuple[list[float], list[float], int, list[float]]:
    platforms = PlatformSettings()
    async with (
        open_engine(settings) as core,
        open_services(
            settings, asker=platforms.asker_bucket, place=platforms.place_bucket
        ) as services,
    ):
        talk = ChatService(make_context(core, services, usual(), platforms))
        await _ask(talk, _who("warm up"))
        alone = await _people(talk, "before")
        flood = asyncio.create_task(_flood(talk))
        flooded = await _people(talk, "during")
        flood.cancel()
        refused = await asyncio.gather(flood, return_exceptions=True)
        count = refused[0] if isinstance(refused[0], int) else 0
        return alone, flooded, count, await _acknowledgements(talk)


def _who(name: str) -> Who:
    return Who(platform="discord", asker=name, place=f"place of {name}", alone=True)


async def _ask(talk: ChatService, who: Who) -> float:
    began = time.perf_counter()
    async with aclosing(replies_of(talk, talk.parse(TEXT), who)) as replies:
        last = [reply async for reply in replies][-1]
    took = time.perf_counter() - began
    await talk.deliveries.delivered(last.job)  # type: ignore[union-attr]
    return took


async def _people(talk: ChatService, when: str) -> list[float]:
    async def one(number: int) -> list[float]:
        await asyncio.sleep(PAUSE * number / PEOPLE)
        took = []
        for _ in range(EACH):
            took.append(await _ask(talk, _who(f"{number} {when}")))
            await asyncio.sleep(PAUSE)
        return took

    found = await asyncio.gather(*(one(number) for number in range(PEOPLE)))
    return [seconds for person in found for seconds in person]


async def _flood(talk: ChatService) -> int:
    """One person asks a hundred times a second, and counts what is refused."""
    refused = 0
    tasks: set[asyncio.Task[float]] = set()
    try:
        while True:
            task = asyncio.create_task(_ask(talk, _who("flood")))
            tasks.add(task)
            await asyncio.sleep(0.01)
            for done in [task for task in tasks if task.done()]:
                refused += isinstance(done.exception(), AskerError)
                tasks.discard(done)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return refused


async def _acknowledgements(talk: ChatService) -> list[float]:
    """Fill the queue with slow requests of many people; then time acceptances."""
    slow = [
        replies_of(talk, talk.parse("Begin ::slow:: " + TEXT), _who(f"q{n}")) for n in range(QUEUED)
    ]
    for events in slow:
        await anext(events)
    took = []
    for number in range(ACKNOWLEDGED):
        began = time.perf_counter()
        events = replies_of(talk, talk.parse(TEXT), _who(f"a{number}"))
        assert isinstance(await anext(events), Queued)
        took.append(time.perf_counter() - began)
        slow.append(events)
    for events in slow:
        await events.aclose()
    return took

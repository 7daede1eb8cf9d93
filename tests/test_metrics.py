"""The text worker's metrics, read as Prometheus reads them."""

import asyncio
import threading
import urllib.error
import urllib.request
from contextlib import AsyncExitStack, aclosing
from pathlib import Path

import pytest
from following import events_of
from loopback import free_port
from prometheus_client.parser import text_string_to_metric_families
from talking import replies_of
from tiny_layouts import make_layout, make_lora
from tiny_models import write_card

from bot.chat import make_context
from bot.service.request import Who
from bot.serving.metrics import MeteredService
from bot.settings import PlatformSettings
from engine.backends.text import TextBackend
from engine.moderation.chain import usual
from engine.monitor.health import FRESH_SECONDS
from engine.monitor.metrics import counting
from engine.plan.cards import Registry, Sampling
from engine.plan.job import Job
from engine.process.bootstrap import open_engine
from engine.process.services import open_services
from engine.settings import Settings


@pytest.fixture
def backend(tmp_path: Path, settings: Settings) -> TextBackend:
    base = make_layout(tmp_path / "base", "llama")
    write_card(tmp_path / "experts", "moss", base, make_lora(base, tmp_path / "moss", 1))
    registry = Registry.load([tmp_path / "experts"], "embedded")
    return TextBackend(settings.model_copy(update={"threads": 1, "slots": 3}), registry)


def read(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    return {s.name: s.value for f in text_string_to_metric_families(text) for s in f.samples}


def ready(port: int) -> int:
    try:
        return urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=60).status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


async def test_a_comparison_counts_as_a_request_and_its_pair_as_the_answer(
    settings: Settings,
) -> None:
    platforms = PlatformSettings(discord_token="a.b.c")
    who = Who(platform="discord", asker="a", place="p")
    async with open_engine(settings) as core, open_services(settings) as services:
        talk = MeteredService(make_context(core, services, usual(), platforms))
        async with aclosing(replies_of(talk, talk.parse("/compare It rained."), who)) as replies:
            assert [reply async for reply in replies]
    labels = {"platform": "discord", "medium": "text"}
    read_out = talk.meter.registry.get_sample_value
    assert read_out("pastiche_bot_accepted_total", labels) == 1
    assert read_out("pastiche_bot_ended_total", labels | {"outcome": "finished"}) == 1
    assert read_out("pastiche_bot_answer_seconds_count", labels) == 1


async def test_tokens_slots_waits_and_first_tokens_are_counted(
    backend: TextBackend, settings: Settings
) -> None:
    port = free_port()
    shown_on = settings.model_copy(update={"metrics_port": port})
    stack = AsyncExitStack()
    counted = await stack.enter_async_context(counting(shown_on, backend, "text"))
    assert (await asyncio.to_thread(ready, port)) == 503, "no model yet"
    await counted.load()
    await asyncio.sleep(FRESH_SECONDS)
    assert (await asyncio.to_thread(ready, port)) == 200

    async def ask(number: int) -> int:
        job = Job(
            id=f"j{number}",
            request="r",
            expert="moss",
            medium="text",
            prompt="Continue.\n\nIt rained.",
            head=11,
            length=20,
            seed=number,
            sampling=Sampling(),
        )
        tokens = 0
        async for event in counted.generate(job, threading.Event()):
            tokens = getattr(event, "tokens_out", tokens)
        return tokens

    written = sum(await asyncio.gather(*[ask(number) for number in range(5)]))
    shown = await asyncio.to_thread(read, port)
    assert shown["pastiche_slots"] == 3
    assert shown["pastiche_slots_busy"] == 0
    assert shown["pastiche_tokens_out_total"] == written > 50
    assert shown["pastiche_queue_wait_seconds_count"] == 5
    assert shown["pastiche_first_token_seconds_count"] == 5
    assert shown["pastiche_tokens_known_total"] > 0, "the same prompt was read once"
    assert shown["pastiche_worker_jobs_total"] == 5
    assert (await asyncio.to_thread(read, port))["pastiche_first_token_seconds_count"] == 5
    await stack.aclose()


async def test_a_worker_that_the_program_starts_shows_itself_on_the_next_port(
    settings: Settings, make_request
) -> None:
    port = free_port()
    async with open_engine(settings.model_copy(update={"metrics_port": port})) as core:
        async with aclosing(events_of(core, make_request())) as events:
            async for _ in events:
                pass
        shown = await asyncio.to_thread(read, port + 1)
    assert shown["pastiche_worker_jobs_total"] == 1

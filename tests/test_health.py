"""What a serving bot says of itself: fit or not and why, and what it counts."""

import asyncio
import json
import socket
import urllib.error
import urllib.request
from contextlib import aclosing

import pytest
from loopback import free_port
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from talking import replies_of
from test_serve import PLATFORMS, House, until

from bot.chat import make_context
from bot.messages.grammar import parse
from bot.service.request import Who
from bot.serving.metrics import MeteredService, Running, showing_bot
from bot.serving.serve import attend
from engine.errors import AskerError, SetupError
from engine.moderation.chain import usual
from engine.monitor.health import FRESH_SECONDS, Health, showing
from engine.process.bootstrap import open_engine
from engine.process.services import open_services

WHO = Who(platform="discord", asker="canary-asker-4711", place="canary-place-4712")


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


async def asked(port: int, path: str) -> tuple[int, str]:
    return await asyncio.to_thread(get, port, path)


def numbers(text: str) -> dict[str, float]:
    """name{label=value} -> value"""
    return {
        s.name + "".join(f" {v}" for _, v in sorted(s.labels.items())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


async def test_a_check_that_fails_hangs_or_breaks_is_told_and_never_ends_the_others() -> None:
    async def sound() -> str:
        return ""

    async def hanging() -> str:
        await asyncio.sleep(3600)
        return ""

    async def broken() -> str:
        raise RuntimeError("canary")

    health = Health({"sound": sound, "hanging": hanging, "broken": broken})
    async with showing(health, CollectorRegistry(), "127.0.0.1", 0) as port:
        status, text = await asked(port, "/readyz")
        assert status == 503
        checks = json.loads(text)["checks"]
        assert checks == {"sound": "ok", "hanging": "no answer in 3 s", "broken": "RuntimeError"}
        assert await asked(port, "/healthz") == (200, "alive\n")


async def test_a_taken_port_is_logged_and_no_error(caplog) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        async with showing(Health({}), CollectorRegistry(), "127.0.0.1", number) as port:
            assert port == 0
    assert "metrics and health are not shown" in caplog.text


async def test_a_bot_whose_port_is_anothers_does_not_serve(settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        shown_on = settings.model_copy(update={"metrics_port": taken.getsockname()[1]})
        async with open_engine(settings) as core, open_services(settings) as services:
            talk = MeteredService(make_context(core, services, usual(), PLATFORMS))
            with pytest.raises(SetupError, match=r"127.*another program has it.*METRICS_HOST"):
                async with showing_bot(shown_on, talk, Running(), ("discord",)):
                    pass


@pytest.fixture
async def bot(settings):
    """A serving bot with metrics: its talk, its house, its port, and what stops it."""
    settings = settings.model_copy(update={"metrics_port": free_port()})
    house, running = House("discord"), Running()
    async with open_engine(settings) as core, open_services(settings) as services:
        talk = MeteredService(make_context(core, services, usual(), PLATFORMS))
        async with showing_bot(settings, talk, running, ("discord",)):
            yield talk, house, settings, running


async def test_it_is_ready_once_connected_and_no_more_while_it_leaves(bot) -> None:
    talk, house, settings, running = bot
    port = settings.metrics_port
    status, text = await asked(port, "/readyz")
    assert (status, json.loads(text)["checks"]["discord"]) == (503, "not connected")
    serving = asyncio.create_task(attend(talk, PLATFORMS, {"discord": house}, running))
    await house.here.wait()
    await asyncio.sleep(FRESH_SECONDS)
    status, text = await asked(port, "/readyz")
    assert (status, json.loads(text)["ready"]) == (200, True)
    talk.deliveries.take_in_hand("something that keeps it from leaving at once")
    talk.context.lifecycle.stop()
    await asyncio.sleep(FRESH_SECONDS)
    status, text = await asked(port, "/readyz")
    assert (status, "leaving" in text) == (503, True)
    talk.deliveries._live.clear()
    assert await asyncio.wait_for(serving, 60) == 0


async def test_without_its_store_of_pictures_it_is_not_ready(bot) -> None:
    _talk, _house, settings, _running = bot
    settings.media.write_text("a file stands where the folder should be")
    status, text = await asked(settings.metrics_port, "/readyz")
    assert status == 503
    assert "The folder of pictures cannot be made" in json.loads(text)["checks"]["media"]


async def test_what_was_taken_answered_and_refused_is_counted_and_nobody_named(bot) -> None:
    talk, house, settings, running = bot
    serving = asyncio.create_task(attend(talk, PLATFORMS, {"discord": house}, running))
    await house.here.wait()
    job = ""
    async with aclosing(replies_of(talk, parse("It rained. canary 4713"), WHO)) as events:
        async for event in events:
            job = event.job
    with pytest.raises(AskerError):
        async for _ in replies_of(talk, parse("/story --style nobody-4714 It rained."), WHO):
            pass
    await until(lambda: running.cleaned_at)
    status, text = await asked(settings.metrics_port, "/metrics")
    shown = numbers(text)
    assert status == 200
    assert shown["pastiche_bot_accepted_total text discord"] == 1
    assert shown["pastiche_bot_ended_total text finished discord"] == 1
    assert shown["pastiche_bot_refused_total discord style"] == 1
    assert shown["pastiche_bot_first_sign_seconds_count text discord"] == 1
    assert shown["pastiche_deliveries owed"] == 1
    assert shown["pastiche_bot_connected discord"] == shown["pastiche_up database"] == 1
    assert shown["pastiche_queue_jobs text queued"] == 0
    assert shown["pastiche_queue_workers text ready"] == 1
    assert shown["pastiche_bot_retention_timestamp_seconds"] == running.cleaned_at
    assert "canary" not in text and "4714" not in text and job not in text
    talk.deliveries._live.clear()
    talk.context.lifecycle.stop()
    await asyncio.wait_for(serving, 60)

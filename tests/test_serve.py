"""Serving: clients come and go, debts are settled, a signal ends it in order."""

import asyncio
import json
import os
import signal
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from program import pastiche, start, stop, wait_for
from talking import replies_of

from bot.chat import make_context
from bot.clients.live_answer import LiveAnswer
from bot.messages.grammar import parse
from bot.service.delivery import Deliveries
from bot.service.request import Who
from bot.service.service import ChatService
from bot.serving.serve import attend, makers
from bot.settings import PlatformSettings, read_platform_settings
from engine.errors import SetupError
from engine.events import Finished, Loading
from engine.ledger.outbox import Debt, Outbox
from engine.ledger.tables import Delivery
from engine.moderation.chain import usual
from engine.process.bootstrap import open_engine
from engine.process.services import open_services

PLATFORMS = PlatformSettings(discord_token="a.b.c", drain_seconds=5)


class House:
    """A chat platform in memory: what was said there, and a client that serves it."""

    def __init__(self, name: str, faults: list[Exception] | None = None) -> None:
        self.name = name
        self.faults = faults or []
        self.started = 0
        self.told: list[tuple[str, str]] = []
        self.here = asyncio.Event()
        self.over = asyncio.Event()
        self.talk: ChatService | None = None

    @property
    def connected(self) -> bool:
        return self.here.is_set()

    def __call__(self, talk: ChatService, settings: PlatformSettings) -> "House":
        self.talk = talk
        return self

    async def run(self) -> None:
        self.started += 1
        if self.faults:
            raise self.faults.pop(0)
        self.here.set()
        await self.over.wait()

    async def drain(self) -> None:
        self.told.append(("all", "good-bye"))
        self.over.set()

    async def deliver(self, debt: Debt) -> None:
        async with aclosing(self.talk.follow(debt.job)) as events:
            async for event in events:
                if isinstance(event, Finished):
                    await self.talk.context.services.outbox.sending(debt.job)
                    self.told.append((debt.address, event.text))
                    await self.talk.deliveries.delivered(debt.job)


@pytest.fixture
async def talk(settings):
    async with open_engine(settings) as core, open_services(settings) as services:
        yield ChatService(make_context(core, services, usual(), PLATFORMS))


async def until(condition, seconds: float = 200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.02)


async def test_a_client_that_cannot_start_leaves_the_other_serving(talk) -> None:
    good, bad = House("telegram"), House("discord", [SetupError("the token was refused")])
    serving = asyncio.create_task(attend(talk, PLATFORMS, {"discord": bad, "telegram": good}))
    await asyncio.wait_for(good.here.wait(), 60)
    await until(lambda: bad.started == 1)
    assert not serving.done()
    os.kill(os.getpid(), signal.SIGTERM)
    assert await asyncio.wait_for(serving, 60) == 0
    assert good.told == [("all", "good-bye")]


async def test_when_no_client_is_left_it_ends_with_1(talk) -> None:
    bad = House("discord", [SetupError("the token was refused")])
    assert await asyncio.wait_for(attend(talk, PLATFORMS, {"discord": bad}), 60) == 1


async def test_a_client_that_breaks_down_is_started_again(talk) -> None:
    house = House("discord", [RuntimeError("a bug")])
    serving = asyncio.create_task(attend(talk, PLATFORMS, {"discord": house}))
    await asyncio.wait_for(house.here.wait(), 60)
    assert house.started == 2
    talk.context.lifecycle.stop()
    assert await asyncio.wait_for(serving, 60) == 0


async def test_an_answer_owed_since_before_a_crash_is_delivered_once(talk) -> None:
    who = Who(platform="discord", asker="7", place="1", address="channel 1")
    async with aclosing(replies_of(talk, parse("It rained."), who)) as events:
        async for _ in events:
            pass
    talk.deliveries._live.clear()  # the process that had it in hand is gone
    house = House("discord")
    serving = asyncio.create_task(attend(talk, PLATFORMS, {"discord": house}))
    await until(lambda: house.told)
    talk.context.lifecycle.stop()
    await asyncio.wait_for(serving, 60)
    assert [address for address, _ in house.told] == ["channel 1", "all"]
    assert await talk.deliveries.debts("discord") == []


class Counting(Deliveries):
    looks = 0

    async def keep_hold(self, *more) -> None:
        self.looks += 1
        await super().keep_hold(*more)


async def test_debts_are_looked_for_when_a_client_comes_and_not_all_the_time(talk) -> None:
    context = make_context(talk.context.engine, talk.context.services, usual(), PLATFORMS)
    looked = Counting(context.engine, context.services, context.handlers)
    counting = ChatService(replace(context, deliveries=looked))
    lonely = House("discord", [RuntimeError("a bug"), RuntimeError("a bug")])
    serving = asyncio.create_task(attend(counting, PLATFORMS, {"discord": lonely}))
    await asyncio.sleep(3)  # five seconds lie between the second fault and the third try
    assert looked.looks <= 3
    counting.context.lifecycle.stop()
    await asyncio.wait_for(serving, 60)


class Page(LiveAnswer):
    """A platform that shows nothing but whole answers, each for as long as it `takes`."""

    passing = (OSError,)
    told = ""
    takes = 0.0

    def grow(self) -> None:
        pass

    async def finish(self, final: Finished) -> list[str]:
        await self.sending()
        await asyncio.sleep(self.takes)
        self.told = final.text
        return []

    async def farewell(self) -> None:
        pass


class StuckPage(Page):
    takes, try_seconds = 3600.0, 0.1


@pytest.fixture
async def shown(settings):
    """Show an answer after something else was done with it; gives the page and the debt's state."""
    async with open_engine(settings, workers=False) as core, open_services(settings) as services:
        talk = ChatService(make_context(core, services, usual(), PLATFORMS))
        who = Who(platform="discord", asker="7", place="1", address="channel 1")

        async def show(what=Page, meanwhile=lambda *_: asyncio.sleep(0)) -> tuple[str, str | None]:
            async with aclosing(replies_of(talk, parse("It rained."), who)) as events:
                job = (await anext(events)).job
            await meanwhile(talk, job)
            times = {"first_token_seconds": 0.1, "seconds": 0.5, "tokens_in": 1, "tokens_out": 1}

            async def ready():
                yield Finished(job=job, attempt=1, text="It rained.", **times)

            page = what(talk, who)
            await page.follow(ready())
            assert talk.deliveries.in_hand == 0
            query = sa.select(Delivery.state).where(Delivery.job_id == job)
            return page.told, await services.ledger.scalar(query)

        yield show


async def test_an_answer_that_takes_too_long_to_go_out_is_owed_again(shown) -> None:
    assert await shown() == ("It rained.", "delivered")
    assert await shown(StuckPage) == ("", "owed")


async def test_what_has_arrived_or_goes_out_elsewhere_is_not_sent_again(shown) -> None:
    async def sent_elsewhere(talk, job) -> None:
        assert await Outbox(talk.context.services.ledger, "another").sending(job)

    assert await shown(Page, sent_elsewhere) == ("", "sending")
    assert await shown(Page, lambda talk, job: talk.deliveries.delivered(job)) == ("", "delivered")


async def test_what_was_given_up_or_forgotten_is_shown_to_who_waits(shown) -> None:
    async def forgotten(talk, _) -> None:
        await talk.context.services.forget("discord", "7")

    assert await shown(Page, forgotten) == ("It rained.", None)
    lost = await shown(Page, lambda talk, job: talk.deliveries.lost(job))
    assert lost == ("It rained.", "delivered")


@pytest.mark.databases("postgres")
async def test_a_drain_does_not_wait_for_what_nobody_can_do(settings) -> None:
    patient = PLATFORMS.model_copy(update={"drain_seconds": 600})
    async with open_engine(settings, workers=False) as core, open_services(settings) as services:
        talk, house = ChatService(make_context(core, services, usual(), patient)), House("discord")
        serving = asyncio.create_task(attend(talk, patient, {"discord": house}))
        await house.here.wait()
        who = Who(platform="discord", asker="7", place="1")
        async with aclosing(replies_of(talk, parse("It rained."), who)) as events:
            async for event in events:
                if isinstance(event, Loading):
                    break
            assert (talk.deliveries.in_hand, talk.deliveries.under_way) == (1, 0)
            talk.context.lifecycle.stop()
            assert await asyncio.wait_for(serving, 60) == 0


async def test_what_runs_when_the_signal_comes_is_finished_first(talk) -> None:
    house = House("discord")
    serving = asyncio.create_task(attend(talk, PLATFORMS, {"discord": house}))
    await house.here.wait()
    who = Who(platform="discord", asker="7", place="1")
    seen = []

    async def ask() -> None:
        async with aclosing(replies_of(talk, parse("It rained."), who)) as events:
            async for event in events:
                talk.context.lifecycle.stop()
                seen.append(event)
        await talk.deliveries.delivered(seen[-1].job)

    await asyncio.gather(ask(), serving)
    assert isinstance(seen[-1], Finished)
    assert house.told == [("all", "good-bye")]


def test_without_a_token_it_says_what_to_set() -> None:
    done = pastiche("serve", timeout=60)
    assert done.returncode == 1
    assert b"DISCORD_TOKEN or TELEGRAM_TOKEN" in done.stderr
    assert b"docs/discord.md and docs/telegram.md say" in done.stderr
    assert b"Traceback" not in done.stderr


def test_the_doctor_says_what_an_operator_forgot() -> None:
    done = pastiche(
        "doctor", "--no-generate", DISCORD_TOKEN="x.y.z", PASTICHE_IMAGE_CHECK="no:such"
    )
    said = " ".join(done.stdout.decode().split())
    assert "nobody may use /admin" in said
    assert "/privacy names no contact" in said
    assert "The picture check 'no:such' cannot be loaded" in said


def test_the_doctor_tries_the_folder_of_pictures(tmp_path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "pictures"
    done = pastiche("doctor", "--no-generate", PASTICHE_MEDIA_FOLDER=str(folder))
    assert done.returncode == 1
    assert f"bad folder of pictures {folder} It cannot be written to" in " ".join(
        done.stdout.decode().split()
    )


def test_a_named_platform_needs_its_own_token() -> None:
    platforms = PlatformSettings(discord_token="a.b.c")
    assert set(makers(platforms, discord=False, telegram=False)) == {"discord"}
    with pytest.raises(SetupError, match="TELEGRAM_TOKEN"):
        makers(platforms, discord=False, telegram=True)


def test_a_wrong_operator_is_named_in_words(monkeypatch) -> None:
    monkeypatch.setenv("OPERATORS", "discord:1, telegram:2")
    assert read_platform_settings().operators == {"discord:1", "telegram:2"}
    monkeypatch.setenv("OPERATORS", "somebody")
    with pytest.raises(SetupError, match="discord:ID or telegram:ID"):
        read_platform_settings()


def test_a_bucket_that_never_fills_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("PASTICHE_PLACE_HOURLY", "0")
    with pytest.raises(SetupError, match="PASTICHE_PLACE_HOURLY: Input should be greater than 0"):
        read_platform_settings()


def test_no_token_shows_in_a_repr() -> None:
    assert "a.b.c" not in repr(PLATFORMS)


def test_a_second_bot_on_one_data_folder_is_refused_with_the_first_ones_number() -> None:
    away = {"DISCORD_TOKEN": "a.b.c", "DISCORD_API_BASE": "http://127.0.0.1:9"}
    first = start("serve", "--no-worker", **away)
    try:
        # earlier it would not be ready to be told to leave
        wait_for(Path(os.environ["PASTICHE_HOME"], "logs", "serve.jsonl"), "cannot be reached")
        second = pastiche("serve", "--no-worker", timeout=60, **away)
        assert second.returncode == 1
        assert f"process {first.pid}" in " ".join(second.stderr.decode().split())
        assert b"Traceback" not in second.stderr
        first.terminate()
        assert first.wait(timeout=60) == 0
    finally:
        stop(first)


def test_in_a_container_every_line_on_standard_output_is_json_and_workers_write_there_too() -> None:
    env = {"DISCORD_TOKEN": "a.b.c", "DISCORD_API_BASE": "http://127.0.0.1:9"}
    process = start("serve", PASTICHE_LOG_TO="stdout", **env)
    try:
        heard = [json.loads(process.stdout.readline())]
        while not any("worker" in line["logger"] and "ready" in line["message"] for line in heard):
            heard.append(json.loads(process.stdout.readline()))
    finally:
        stop(process)
    assert {"time", "level", "logger", "message"} <= set(heard[0])
    assert not Path(os.environ["PASTICHE_HOME"], "logs", "serve.jsonl").exists()

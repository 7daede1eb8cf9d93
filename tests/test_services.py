"""Quotas, places, switches and retention: arithmetic and rules, on a real database."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from engine.chat.places import Place
from engine.chat.quotas import Bucket, TooSoon
from engine.events import Cancelled
from engine.ledger.ledger import Ledger
from engine.ledger.tables import Asker, RequestRow
from engine.plan.plan import make_plan
from engine.process.services import Services, open_services

pytestmark = pytest.mark.databases("sqlite", "postgres")
amounts = st.floats(0.1, 100)


class Clock:
    def __init__(self) -> None:
        self.seconds = 1_000_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def services(ledger: Ledger, settings, clock: Clock) -> AsyncIterator[Services]:
    purse, till = Bucket(burst=3, hourly=60), Bucket(burst=5, hourly=60)
    async with open_services(settings, asker=purse, place=till, clock=clock) as made:
        yield made


@given(amounts, amounts, st.floats(0, 100), amounts)
def test_after_the_wait_there_is_enough(
    burst: float, hourly: float, left: float, cost: float
) -> None:
    bucket = Bucket(burst=burst, hourly=hourly)
    left = min(left, burst)
    wait = bucket.wait(left, cost)
    assert bucket.now(left, wait) >= min(cost, burst) - 1e-6
    assert wait == 0 or bucket.now(left, wait * 0.9) < min(cost, burst)


@given(amounts, amounts, st.lists(st.floats(0, 1e6), max_size=9))
def test_a_bucket_never_holds_more_than_its_burst(burst: float, hourly: float, waits) -> None:
    bucket, left = Bucket(burst=burst, hourly=hourly), 0.0
    for seconds in waits:
        left = bucket.now(left, seconds)
        assert 0 <= left <= burst


async def test_a_refusal_takes_nothing_from_either_bucket(services: Services, clock: Clock) -> None:
    for _ in range(3):
        assert await services.quotas.take("discord", "a", "p", 1) is None
    soon = await services.quotas.take("discord", "a", "p", 1)
    assert soon == TooSoon(seconds=60, place=False)
    assert await services.quotas.take("discord", "b", "p", 2) is None
    assert (await services.quotas.take("discord", "b", "p", 1)).place
    assert await services.quotas.take("discord", "b", "elsewhere", 1) is None
    await services.quotas.give_back("discord", "a", "p", 1)
    assert await services.quotas.take("discord", "a", "p", 1) is None


async def test_a_cost_beyond_the_whole_bucket_is_served_once_it_is_full(
    services: Services, clock: Clock
) -> None:
    assert await services.quotas.take("discord", "a", None, 50) is None
    assert (await services.quotas.take("discord", "a", None, 50)).seconds == 180
    clock.seconds += 180
    assert await services.quotas.take("discord", "a", None, 50) is None


async def test_twenty_at_once_take_no_more_than_there_is(services: Services) -> None:
    done = await asyncio.gather(*(services.quotas.take("discord", "a", None, 1) for _ in range(20)))
    assert sum(soon is None for soon in done) == 3


async def test_the_same_number_on_two_platforms_is_two_people(services: Services) -> None:
    assert services.ledger.person("discord", "1") != services.ledger.person("telegram", "1")
    await services.places.rule("discord", "asker", "1", "deny")
    assert not await services.places.welcome("discord", "1", ["p"], "")
    assert await services.places.welcome("telegram", "1", ["p"], "")


async def test_a_denied_person_is_out_even_on_an_allowed_server(services: Services) -> None:
    await services.places.rule("discord", "server", "s", "allow")
    assert await services.places.welcome("discord", "1", ["p"], "s")
    assert not await services.places.welcome("discord", "1", ["p"], "another")
    await services.places.rule("discord", "asker", "1", "deny")
    assert not await services.places.welcome("discord", "1", ["p"], "s")
    await services.places.rule("discord", "asker", "2", "allow")
    assert await services.places.welcome("discord", "2", ["p"], "another")


async def test_a_places_settings_are_its_own_and_last(services: Services, settings) -> None:
    await services.places.settle("discord", "p", style="agatha", talk_on=True)
    async with open_services(settings) as another:
        assert await another.places.place("discord", "p") == Place(style="agatha", talk_on=True)
        assert await another.places.place("telegram", "p") == Place()


async def test_a_thread_has_its_channels_settings_until_it_has_its_own(services: Services) -> None:
    await services.places.settle("discord", "channel", style="agatha")
    assert await services.places.place("discord", "thread", "channel") == Place(style="agatha")
    await services.places.settle("discord", "thread", talk_on=True)
    assert await services.places.place("discord", "thread", "channel") == Place(talk_on=True)
    assert await services.places.place("discord", "channel") == Place(style="agatha")


async def test_who_switches_talk_off_in_a_channel_ends_it_in_its_threads(
    services: Services,
) -> None:
    await services.places.settle("discord", "channel", talk_on=True)
    await services.places.settle("discord", "thread", parent="channel", style="agatha")
    assert (await services.places.place("discord", "thread", "channel")).talk_on
    await services.places.settle("discord", "channel", talk_on=False)
    assert await services.places.place("discord", "thread", "channel") == Place(style="agatha")


async def test_of_two_settings_made_at_once_neither_is_lost(services: Services) -> None:
    for turn in range(20):
        settle, place = services.places.settle, f"p{turn}"
        await asyncio.gather(
            settle("discord", place, style="agatha"), settle("discord", place, talk_on=True)
        )
        assert await services.places.place("discord", place) == Place(style="agatha", talk_on=True)


async def test_of_two_reports_at_one_moment_the_later_counts_both(
    services: Services, ledger: Ledger, make_request, registry
) -> None:
    jobs = []
    for asker in (*"ab", *map(str, range(10))):
        request = replace(make_request(), asker=asker)
        plan = make_plan(request, registry, 99)
        await ledger.accept(request, plan.route, plan.job)
        jobs.append(plan.job.id)
    await ledger.change(sa.update(Asker).values(created_at=0.0))  # they have a say
    report = services.feedback.report
    for job in jobs[2:]:
        counts = await asyncio.gather(
            *(report(request.platform, asker, job, "bad") for asker in "ab")
        )
        assert max(counts) == 2


async def test_a_topic_goes_with_its_group(
    services: Services, ledger: Ledger, make_request, registry
) -> None:
    topic = replace(make_request(), platform="telegram", place="-1001/4", alone=False)
    other = replace(topic, place="-10012/4")
    for request in (topic, other):
        plan = make_plan(request, registry, 99)
        await ledger.accept(request, plan.route, plan.job)
        done = Cancelled(job=plan.job.id, attempt=1)
        await ledger.finish(done)
        await services.places.settle(
            "telegram", request.place, style="agatha", parent=request.place[:-2]
        )
    await services.leave("telegram", "-1001")
    assert (await services.places.place("telegram", "-1001/4")).style == ""
    assert (await services.places.place("telegram", "-10012/4")).style == "agatha"
    assert await ledger.scalars(sa.select(RequestRow.place)) == ["-10012/4"]


async def test_a_group_under_a_new_name_has_its_block_its_quota_and_its_answers(
    services: Services, ledger: Ledger, make_request, registry
) -> None:
    asked = replace(make_request(), platform="telegram", place="-151", alone=False)
    plan = make_plan(asked, registry, 99)
    await ledger.accept(asked, plan.route, plan.job)
    await ledger.finish(Cancelled(job=plan.job.id, attempt=1))
    await services.places.rule("telegram", "place", "-151", "deny")
    for asker in "ab":
        assert await services.quotas.take("telegram", asker, "-151", 2) is None
    await services.rename("telegram", "-151", "-100151")
    assert not await services.places.welcome("telegram", "a", ["-100151"])
    assert (await services.quotas.take("telegram", "c", "-100151", 2)).place
    last = await ledger.last_answer("telegram", asked.asker, "-100151")
    assert (last.job.id, last.request.place) == (plan.job.id, "-100151")
    await services.leave("telegram", "-100151")
    assert await ledger.scalars(sa.select(RequestRow.id)) == []


async def test_a_switch_is_seen_by_every_process(services: Services, settings) -> None:
    await services.places.switch("paused", "on")
    async with open_services(settings) as another:
        assert await another.places.switched() == {"paused": "on"}
        await another.places.switch("paused", "")
    assert await services.places.switched() == {}


async def test_seen_updates_are_kept_for_two_days(services: Services, clock: Clock) -> None:
    assert not await services.seen("telegram", "1")
    clock.seconds += 47 * 3600
    await services.retention.clean()
    assert await services.seen("telegram", "1")
    clock.seconds += 2 * 3600
    await services.retention.clean()
    assert not await services.seen("telegram", "1")


async def test_a_copy_that_cannot_be_deleted_stops_neither_retention_nor_the_others(
    services: Services, settings
) -> None:
    folder = settings.home / "backups"
    for path in (folder / "ledger-0001-1.sqlite3", folder / "ledger-0001-3.sqlite3"):
        path.mkdir(parents=True)  # a folder is no file to delete
    for name in ("ledger-0001-2.sqlite3", "mine.sqlite3"):
        (folder / name).touch()
    async with open_services(settings) as another:
        assert (await another.retention.clean())["backups"] == 1
    assert not (folder / "ledger-0001-2.sqlite3").exists()
    assert (folder / "mine.sqlite3").exists()


async def test_retention_deletes_backups_older_than_five_weeks(
    services: Services, settings
) -> None:
    folder = settings.home / "backups"
    folder.mkdir(exist_ok=True)
    old, new = (
        folder / f"ledger-0001-{int(time.time()) - days * 86400}.sqlite3" for days in (36, 34)
    )
    for path in (old, new):
        path.touch()  # as a /forget in it does: that makes no copy younger
    async with open_services(settings) as another:
        assert (await another.retention.clean())["backups"] == 1
    assert [*folder.glob("*.sqlite3")] == [new]

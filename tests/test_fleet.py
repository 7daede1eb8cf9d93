"""Several bots on one ledger: one listener, one poller, one sender for each debt."""

import asyncio
import signal
import time
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from discord_server import DiscordServer
from postgres import KEY
from program import start, stop
from telegram_server import TelegramServer

from bot.chat import make_context
from bot.clients.lease import LeaseLostError, while_alone
from bot.service.service import ChatService
from bot.serving.metrics import Running
from bot.serving.serve import DEBTS_AT_ONCE, attend
from bot.settings import PlatformSettings
from engine.ledger.leases import RENEW_SECONDS, Leases
from engine.ledger.ledger import new_id
from engine.ledger.outbox import FRESH_SECONDS, HOLD_SECONDS, Outbox
from engine.ledger.tables import Delivery
from engine.moderation.chain import usual
from engine.plan.router import route
from engine.process.bootstrap import open_engine
from engine.process.services import open_services

pytestmark = pytest.mark.databases("postgres")


@pytest.fixture
def leases(ledger):
    """Two processes' leases on one ledger."""
    return Leases(ledger, "one"), Leases(ledger, "two")


async def lapse(ledger) -> None:
    """As if LEASE_SECONDS had gone by since anybody renewed."""
    async with ledger.writing() as connection:
        await connection.exec_driver_sql("update leases set until = until - 60")


async def test_the_second_waits_says_for_whom_and_follows(leases, caplog) -> None:
    one, two = leases
    order: list[str] = []

    async def second() -> None:
        order.append("two")

    async def first() -> None:
        while "Discord: one serves this bot already" not in caplog.text:
            await asyncio.sleep(0.05)
        order.append("one")

    leading = asyncio.create_task(while_alone(one, "bot", "Discord", first))
    while not await two.take("bot"):
        await two.give_back(("bot",))
        await asyncio.sleep(0.05)
    waiting = asyncio.create_task(while_alone(two, "bot", "Discord", second))
    await asyncio.wait_for(leading, 60)
    await asyncio.wait_for(waiting, 60)
    assert order == ["one", "two"]


async def test_a_lease_that_nobody_renews_is_anybodys(leases, ledger) -> None:
    one, two = leases
    assert await one.take("shard") == ""
    assert await two.take("shard") == "one"
    await lapse(ledger)
    assert await two.take("shard") == ""
    assert await one.take("shard") == "two"


async def test_who_was_away_too_long_stops_listening(leases, ledger) -> None:
    one, two = leases

    async def asleep() -> None:
        await asyncio.sleep(3600)

    listening = asyncio.create_task(while_alone(one, "bot", "Discord", asleep))
    while not await two.take("bot"):
        await two.give_back(("bot",))
        await asyncio.sleep(0.05)
    await lapse(ledger)
    assert await two.take("bot") == ""
    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(listening, 3 * RENEW_SECONDS)


@pytest.fixture
async def owed(ledger, registry, make_request):
    """Puts an answer's debt into the ledger."""
    from engine.engine import LocalEngine
    from engine.queues.embedded import EmbeddedQueue

    engine = LocalEngine(registry, ledger, EmbeddedQueue(ledger, max_waiting=9), max_length=1200)

    async def make(place: str = "chat") -> str:
        request = make_request(platform="telegram", place=place)
        chosen = route("story", request.text, None, registry)
        job = engine.plan(request, new_id()).job
        await ledger.accept(request, chosen, job)
        return job.id

    return make


async def test_a_debt_is_one_bots_until_it_has_gone(ledger, owed) -> None:
    one, two = Outbox(ledger, "one"), Outbox(ledger, "two")
    now = time.time()
    job = await owed()
    assert await two.due("telegram") == []  # just accepted: in the hands of who accepted it
    await one.hold([job])
    await two.hold([job])
    ledger.clock = lambda: now + HOLD_SECONDS - 5
    assert await two.due("telegram") == []
    await one.hold([job])
    ledger.clock = lambda: now + 2 * HOLD_SECONDS - 10
    assert not await two.claim(job)
    ledger.clock = lambda: now + 2 * HOLD_SECONDS + 1  # the first has not said so for a minute
    assert [debt.job for debt in await two.due("telegram")] == [job]
    claims = await asyncio.gather(two.claim(job), Outbox(ledger, "three").claim(job))
    assert sorted(claims) == [False, True]


class Busy:
    """A client that is still with the first debts."""

    name = "telegram"

    def __init__(self) -> None:
        self.over = asyncio.Event()

    async def run(self) -> None:
        await self.over.wait()

    async def deliver(self, _debt) -> None:
        await self.over.wait()


async def test_a_debt_that_waits_for_its_turn_is_no_other_bots(settings, owed) -> None:
    for number in range(DEBTS_AT_ONCE + 1):
        await owed(f"{number}")
    first = time.time() + FRESH_SECONDS + 1  # who accepted them has gone
    async with (
        open_engine(settings, workers=False) as core,
        open_services(settings, clock=lambda: first) as services,
    ):
        platforms, client, running = PlatformSettings(), Busy(), Running()
        talk = ChatService(make_context(core, services, usual(), platforms))
        serving = asyncio.create_task(
            attend(talk, platforms, {"telegram": lambda *_: client}, running)
        )
        async with asyncio.timeout(20):
            while len(running.settling) <= DEBTS_AT_ONCE:
                await asyncio.sleep(0.02)
            first += HOLD_SECONDS / 2
            running.came.set()  # it looks again, as it does every few seconds
            held = sa.select(sa.func.min(Delivery.due_at))
            while await services.ledger.scalar(held) < first + HOLD_SECONDS:
                await asyncio.sleep(0.02)
        client.over.set()
        await asyncio.wait_for(serving, 60)


async def test_what_a_leaving_bot_had_in_hand_is_due_at_once(ledger, owed) -> None:
    one, two = Outbox(ledger, "one"), Outbox(ledger, "two")
    job = await owed()
    await one.hold([job])
    await one.let_go()
    assert [debt.job for debt in await two.due("telegram")] == [job]


async def test_a_pause_that_a_platform_asked_for_outlasts_the_bot_that_was_told(
    ledger, owed
) -> None:
    one, two = Outbox(ledger, "one"), Outbox(ledger, "two")
    now, job = time.time(), await owed()
    await one.sending(job)
    await one.undelivered(job, 3600)
    await one.hold([job])  # it may still be in the list of what is in hand
    await one.let_go()
    ledger.clock = lambda: now + 3500
    assert await two.due("telegram") == []
    assert not await two.claim(job)
    ledger.clock = lambda: now + 3700
    assert [debt.job for debt in await two.due("telegram")] == [job]


async def test_what_cannot_be_sent_is_tried_for_about_a_day(ledger, owed) -> None:
    outbox, job = Outbox(ledger), await owed()
    began = now = time.time()
    ledger.clock = lambda: now
    while await outbox.undelivered(job, 0.0):
        now = await ledger.scalar(sa.select(Delivery.due_at))
    assert 20 < (now - began) / 3600 < 28


async def test_no_debt_is_claimed_where_another_bot_is_sending(ledger, owed) -> None:
    one, two = Outbox(ledger, "one"), Outbox(ledger, "two")
    now = time.time()
    sent, here, elsewhere = await owed("chat"), await owed("chat"), await owed("another")
    await one.sending(sent)
    ledger.clock = lambda: now + FRESH_SECONDS + 1
    assert not await two.claim(here)
    assert await two.claim(elsewhere)
    await ledger.delivered(sent)
    assert await two.claim(here)


@asynccontextmanager
async def bots(settings, tmp_path, *words: str, **env: str):
    """Starts bots on the same ledger, each with a data folder of its own."""
    running = []

    def begin(name: str):
        key = tmp_path / "key"
        key.write_text(KEY)
        key.chmod(0o600)
        (tmp_path / name).mkdir()
        process = start(
            "serve", *words, "--no-worker",
            PASTICHE_HOME=str(tmp_path / name), PASTICHE_KEY_FILE=str(key),
            PASTICHE_DATABASE_URL=settings.database_url, **env,
        )  # fmt: skip
        running.append(process)
        return process

    try:
        yield begin
    finally:
        for process in running:
            stop(process)


async def said(process, words: bytes, seconds: float = 200) -> None:
    """Until it has said so on its error output."""
    heard: list[bytes] = []
    try:
        async with asyncio.timeout(seconds):
            while not any(words in line for line in heard):
                heard.append(await asyncio.to_thread(process.stderr.readline))
                assert process.poll() is None, b"".join(heard).decode()
    except TimeoutError:
        process.terminate()
        pytest.fail(f"it never said so, but {b''.join(heard).decode()}")


@pytest.mark.slow
async def test_a_bot_that_waits_takes_the_place_of_one_that_ends(settings, tmp_path) -> None:
    async with (
        DiscordServer() as discord,
        bots(settings, tmp_path, "--discord", **discord.environment) as begin,
    ):
        first = begin("first")
        await said(first, b"Discord: connected")
        second = begin("second")
        await said(second, b"serves this bot already")
        assert len(discord.gateway.identified) == 1
        first.send_signal(signal.SIGTERM)
        await said(second, b"Discord: connected")
        assert first.wait(timeout=60) == 0


@pytest.mark.slow
async def test_only_one_bot_polls_telegram(settings, tmp_path) -> None:
    async with TelegramServer() as server:
        env = {"TELEGRAM_TOKEN": server.token, "TELEGRAM_API_BASE": server.base}
        async with bots(settings, tmp_path, "--telegram", **env) as begin:
            first = begin("first")
            await server.until(lambda: server.polls > 0, 60)
            second = begin("second")
            await said(second, b"serves this bot already")
            first.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(first.wait, 20) == 0
            polls = server.polls
            await server.until(lambda: server.polls > polls, 20)
            assert second.poll() is None

"""Telegram across starts: what was promised before a kill arrives after it, once; and wrong settings."""

import asyncio
import random
import signal

import pytest
import sqlalchemy as sa
from telegram_program import Program
from telegram_server import TelegramServer
from test_telegram_parts import mutated

from engine.ledger.tables import Delivery
from engine.process.services import open_services
from engine.settings import Settings

pytestmark = pytest.mark.slow


@pytest.fixture
async def server():
    async with TelegramServer() as made:
        yield made


async def noted(program: Program, ending: str) -> None:
    """Until some answer's address, as it is on record, ends so."""
    home, key = program.folder / "home", program.folder / "key"
    async with open_services(Settings(home=home, key_file=key)) as services:
        while True:
            async with services.ledger.reading() as connection:
                found = await connection.scalars(sa.select(Delivery.address))
            if any(str(address).endswith(ending) for address in found):
                return
            await asyncio.sleep(0.02)


async def test_what_was_promised_before_a_kill_arrives_after_it_once(tmp_path, server):
    server.private(7)
    server.group(-1001)
    program = Program(tmp_path, server)
    async with program:
        server.say("/story It rained.")
        before = await server.answer_in(7, "AI-generated")
        server.say("/story one ::slow:: two three", -1001, 8)
        growing = (await server.until(lambda: server.shown(-1001)))[0]
        await noted(program, f"#{growing['message_id']}")
    async with program:
        answer = await server.answer_in(-1001, "AI-generated", 60)
        assert answer["message_id"] == growing["message_id"]
        assert len(server.shown(-1001)) == 1
        server.press(before, "Again", 7)
        await server.until(lambda: len(server.shown(7)) == 2)
        server.say("/story four ::slow:: five six seven eight nine")
        await server.until(lambda: any("four" in m["text"] for m in server.shown(7)))
        assert await program.end(signal.SIGTERM) == 0
        await server.answer_in(7, "I am being restarted.")
    async with program:
        await server.answer_in(7, "four ::slow:: five six seven eight nine", 60)
        await server.until(lambda: len(server.shown(7)) == 3)
        # What a message says is not kept, so that a new start may say it again.
        assert server.disobeyed.keys() <= {"identical edit"}
    assert "Traceback" not in program.said


async def test_ten_thousand_malformed_updates_stop_nothing(tmp_path, server):
    server.private(7)
    server.private(9)
    async with Program(tmp_path, server) as program:
        rng = random.Random(3)
        server.say("/queue")
        sound = [server.updates[-1] | {"callback_query": None}]
        shown = await server.answer_in(7, "Nothing is waiting")
        server.query(shown, "p1:c:01ARZ3NDEKTSV4RRFFQ69G5FAV")
        sound.append(dict(server.updates[-1]))
        for number in range(10_000):
            update = rng.choice(sound)
            for _ in range(rng.randrange(4, 12)):
                update = mutated(update, rng)
            if isinstance(update, dict) and rng.random() < 0.95:
                update["update_id"] = 5_000 + number
            server.push_raw(update)
        server.push_raw({**sound[1], "update_id": 20_000})
        server._update_id = 20_000
        server.say("/help", 9, 9)
        await server.answer_in(9, "/story", 120)
    assert "Traceback" not in program.said
    assert "an update failed" not in program.logged


async def test_a_pause_asked_for_at_the_start_is_kept(tmp_path, server):
    server.fail("getMe", 429, retry_after=4)
    async with Program(tmp_path, server):
        first, second = server.made("getMe")[:2]
        assert second.at - first.at >= 4


async def test_a_wrong_token_is_one_clear_line(tmp_path, server):
    program = Program(tmp_path, server, TELEGRAM_TOKEN="123456789:" + "x" * 35)
    await program.start(ready=False)
    assert await asyncio.wait_for(program.process.wait(), 60) == 1
    told = [line for line in program.said.splitlines() if "Telegram refuses" in line]
    assert len(told) == 1
    assert "@BotFather" in told[0]
    assert "x" * 35 not in program.said + program.logged

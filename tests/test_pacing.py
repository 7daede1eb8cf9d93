"""Edits come at most once an interval, the newest value wins, and the last one always arrives."""

import asyncio
from itertools import pairwise

import pytest

from bot.clients.live_answer import LiveAnswer
from bot.clients.pacing import DEADLINE_SECONDS, Coalescer, Pace, Paces, TooFast, Vanished
from bot.discord_client.errors import PATIENCE_SECONDS
from bot.discord_client.live_answer import DiscordAnswer
from bot.service.delivery import GRACE_SECONDS
from bot.telegram_client import live_answer as telegram
from bot.telegram_client.api import READ_SECONDS, UPLOAD_SECONDS
from bot.telegram_client.live_answer import TelegramAnswer
from engine.ledger.outbox import SENDING_SECONDS


class FastClock:
    """Seconds pass as soon as everybody sleeps: the one who is due first wakes first."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.due: list[float] = []

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        until = self.seconds + seconds
        self.due.append(until)
        try:
            for _ in range(5):
                await asyncio.sleep(0)
            while until > min(self.due):
                await asyncio.sleep(0)
            self.seconds = max(self.seconds, until)
        finally:
            self.due.remove(until)


class Chat:
    """A chat that remembers what was sent and when, and fails as it is told to."""

    def __init__(self, *faults: Exception | None) -> None:
        self.clock = FastClock()
        self.pace = Pace(1.1, self.clock)
        self.seen: list[tuple[float, str]] = []
        self.tried: list[float] = []
        self.faults = list(faults)

    async def send(self, value: str) -> None:
        now = self.clock.now()
        self.tried.append(now)
        await asyncio.sleep(0)
        fault = self.faults.pop(0) if self.faults else None
        if fault:
            raise fault
        self.seen.append((now, value))

    def coalescer(self, **options: float) -> Coalescer[str]:
        return Coalescer(self.pace, self.send, **options)

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.seen]


async def test_ten_values_a_second_are_shown_about_once_a_second() -> None:
    chat = Chat()
    answer = chat.coalescer()
    for n in range(100):
        answer.show(f"{n} words")
        await chat.clock.sleep(0.1)
    await answer.finish("the end")
    times = [time for time, _ in chat.seen]
    assert all(after - before >= 1.1 - 1e-9 for before, after in pairwise(times))
    assert chat.texts[-1] == "the end"
    assert 5 <= len(chat.seen) <= 12


async def test_what_is_seen_already_is_not_sent_again() -> None:
    chat = Chat()
    answer = chat.coalescer()
    answer.show("It rained.")
    await asyncio.sleep(0.01)
    answer.show("It rained.")
    await answer.finish("It rained.")
    assert chat.texts == ["It rained."]


async def test_a_pause_that_the_platform_asks_for_is_kept_to_the_second() -> None:
    chat = Chat(TooFast(110))
    await chat.coalescer().finish("the end")
    assert chat.tried == [0, 110]
    assert chat.texts == ["the end"]


async def test_a_pause_holds_everybody_in_the_chat() -> None:
    chat = Chat(TooFast(30))
    await asyncio.gather(chat.coalescer().finish("one"), chat.coalescer().finish("two"))
    assert sorted(chat.texts) == ["one", "two"]
    assert all(time >= 30 for time, _ in chat.seen)
    assert chat.seen[1][0] - chat.seen[0][0] >= 1.1 - 1e-9


async def test_the_newest_value_is_sent_after_a_pause() -> None:
    chat = Chat(TooFast(10))
    answer = chat.coalescer()
    answer.show("old")
    await asyncio.sleep(0)
    answer.show("newer")
    await answer.finish("the end")
    assert chat.texts == ["the end"]


async def test_a_pause_beyond_the_deadline_is_told_to_the_caller_at_once() -> None:
    chat = Chat(TooFast(13_938))
    with pytest.raises(TooFast):
        await chat.coalescer().finish("the end")
    with pytest.raises(TooFast):
        await chat.coalescer().finish("another end")
    assert chat.clock.now() < 13_938


async def test_a_passing_fault_costs_a_draft_but_never_the_end() -> None:
    chat = Chat(OSError(), OSError(), OSError())
    answer = chat.coalescer()
    answer.show("draft")
    await asyncio.sleep(0.01)
    await answer.finish("the end")
    assert chat.texts == ["the end"]
    assert len(chat.tried) == 4


async def test_a_lasting_fault_is_raised_when_the_deadline_has_passed() -> None:
    chat = Chat(*[OSError("still down")] * 1000)
    with pytest.raises(OSError, match="still down"):
        await chat.coalescer(deadline=60).finish("the end")
    assert chat.clock.now() <= 75


async def test_a_lasting_fault_is_tried_no_longer_than_a_pause_would_be_slept_out() -> None:
    chat = Chat(*[OSError("still down")] * 1000)
    with pytest.raises(OSError, match="still down"):
        await chat.coalescer(deadline=86_400).finish("the end", 60)
    assert chat.clock.now() <= 60


def test_no_answer_is_tried_for_as_long_as_it_is_kept_from_other_bots() -> None:
    for_one_message = max(DEADLINE_SECONDS, PATIENCE_SECONDS, telegram.PATIENCE_SECONDS)
    for_all = max(kind.try_seconds for kind in (LiveAnswer, DiscordAnswer, TelegramAnswer))
    assert for_one_message + READ_SECONDS + UPLOAD_SECONDS < for_all < SENDING_SECONDS
    assert SENDING_SECONDS < GRACE_SECONDS


async def test_a_message_that_is_gone_is_not_tried_again() -> None:
    chat = Chat(Vanished("deleted"))
    answer = chat.coalescer()
    answer.show("draft")
    await asyncio.sleep(0.01)
    answer.show("more")
    with pytest.raises(Vanished):
        await answer.finish("the end")
    assert len(chat.tried) == 1


async def test_a_cancelled_answer_sends_no_more() -> None:
    chat = Chat(TooFast(50))
    answer = chat.coalescer()
    answer.show("draft")
    await asyncio.sleep(0)
    await answer.cancel()
    assert chat.texts == []


async def test_a_long_list_of_chats_does_not_grow_for_ever() -> None:
    clock = FastClock()
    paces = Paces(clock)
    first = paces.of("first", 1.1)
    first.hold(60)
    for n in range(10_100):
        paces.of(str(n), 1.1)
    assert paces.of("first", 1.1) is first
    assert len(paces._paces) <= 10_050

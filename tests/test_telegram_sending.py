"""Sending to the loopback Bot API: what arrives, in which form, and what faults leave behind."""

import asyncio

import pytest
from telegram.error import InvalidToken, TelegramError
from telegram_chats import buttons
from telegram_server import TelegramServer

from bot.clients.pacing import TooFast, Vanished
from bot.locales import words as locale_words
from bot.messages.buttons import Verb, button
from bot.telegram_client.api import Api, Barred, Place, Unsure
from bot.telegram_client.handlers import Handlers
from bot.telegram_client.live_answer import PATIENCE_SECONDS, LiveMessage
from bot.telegram_client.messages import Sender
from bot.telegram_client.rendering import Photo, TextMessage
from bot.telegram_client.update_queue import CONFLICT, poll
from bot.telegram_client.updates import TextUpdate
from engine.errors import KIND_SENTENCE

JOB = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
CANCEL = ((button(Verb.CANCEL, JOB),),)
ADA, READERS = Place(chat=7), Place(chat=-1001)
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


class QuickClock:
    """Seconds pass as soon as somebody sleeps."""

    def __init__(self):
        self.time, self.slept = 0.0, []

    def now(self):
        return self.time

    async def sleep(self, seconds):
        self.slept.append(seconds)
        self.time += seconds
        await asyncio.sleep(0.01)


@pytest.fixture
async def server():
    async with TelegramServer(limits=False) as made:
        made.private(7)
        made.group(-1001)
        yield made


@pytest.fixture
async def api(server):
    async with Api(server.token, server.base) as made:
        yield made


@pytest.fixture
def sender(api):
    return Sender(api, QuickClock())


def words(text, rows=()):
    return TextMessage(text=text, rows=rows)


async def test_markup_of_a_model_is_shown_as_it_stands(server, sender):
    await sender.deliver(ADA, words("<b>a & *b*"))
    assert [m["text"] for m in server.shown(7)] == ["<b>a & *b*"]


async def test_an_edit_that_changes_nothing_is_no_fault(server, sender):
    message = await sender.deliver(ADA, words("Hm."))
    await sender.change(ADA, message, words("Hm."))
    assert server.disobeyed["identical edit"] == 1


async def test_a_pause_that_telegram_asks_for_is_kept_to_the_second(server, sender):
    server.fail("sendMessage", 429, retry_after=209)
    await sender.deliver(ADA, words("Hm."))
    assert sum(sender.pace(ADA).clock.slept) >= 209
    assert len(server.shown(7)) == 1


async def test_faults_of_the_server_are_outlasted(server, sender):
    server.fail("sendMessage", 500, 502, "no json", 429, retry_after=3)
    await sender.deliver(ADA, words("Hm."))
    assert len(server.shown(7)) == 1


async def test_whether_a_message_arrived_is_said_to_be_unknown(server, sender):
    server.fail("sendMessage", "drop_after")
    with pytest.raises(Unsure):
        await sender.deliver(ADA, words("Hm."))


async def test_nothing_is_tried_again_where_the_bot_is_blocked(server, sender):
    server.shut(7)
    with pytest.raises(Vanished):
        await sender.deliver(ADA, words("Hm."))
    assert len(server.made("sendMessage")) == 1


async def test_a_group_that_moved_is_written_to_at_its_new_id(server, sender):
    server.group(-1002)
    server.chats[-1001].moved_to = -1002
    await sender.deliver(READERS, words("Hm."))
    await sender.deliver(READERS, words("Hm again."))
    assert [m["text"] for m in server.shown(-1002)] == ["Hm.", "Hm again."]
    assert len(server.made("sendMessage")) == 3


async def test_an_unknown_topic_is_the_chat_itself(server, sender):
    await sender.deliver(Place(chat=-1001, thread=99), words("Hm."))
    assert len(server.shown(-1001)) == 1


async def test_a_reply_to_a_deleted_message_is_a_message(server, sender):
    await sender.deliver(ADA, words("Hm."), reply_to=99_999)
    assert len(server.shown(7)) == 1


async def test_a_group_sees_one_message_grow(server, sender):
    stage = LiveMessage(sender, READERS)
    for text in ("It", "It rained", "It rained hard"):
        stage.show(words(text, CANCEL))
        await asyncio.sleep(0.05)
    await stage.finish([words("It rained hard."), words("Then it stopped.")])
    assert [m["text"] for m in server.shown(-1001)] == ["It rained hard.", "Then it stopped."]
    assert server.disobeyed["identical edit"] == 0


async def test_a_long_pause_is_not_slept_out_but_told_so_that_it_outlasts_the_process(
    server, sender
):
    server.fail("sendMessage", 429, retry_after=3600)
    with pytest.raises(TooFast) as caught:
        await LiveMessage(sender, ADA).finish([words("The end.")], 60)
    assert caught.value.seconds == 3600
    with pytest.raises(TooFast):  # nor is another one tried meanwhile
        await LiveMessage(sender, ADA).finish([words("The end.")], 60)
    assert len(server.made("sendMessage")) == 1


@pytest.mark.parametrize("shown", [0, 1])
async def test_no_part_of_an_answer_is_tried_for_as_long_as_it_is_kept_from_other_bots(
    server, sender, shown
):
    stage = LiveMessage(sender, ADA)
    if shown:
        stage.show(words("writing", CANCEL))
        await server.until(lambda: server.shown(7))
    server.fail("sendMessage", *[500] * 200)
    with pytest.raises(TelegramError):
        await stage.finish([words("It"), words("rained.")], PATIENCE_SECONDS)
    assert len(server.shown(7)) == shown
    assert sender._overall.clock.time <= PATIENCE_SECONDS + 5


async def test_another_try_sends_no_part_that_stands(server, sender):
    noted = []

    async def note(message, standing):
        noted.append((message, standing))
        if len(noted) == 2:
            server.fail("sendMessage", 429, retry_after=3600)

    parts = [words("It"), words("rained"), words("hard.")]
    with pytest.raises(TooFast):
        await LiveMessage(sender, ADA, note=note).finish(parts, PATIENCE_SECONDS)
    message, standing = noted[-1]
    sender._overall.clock.time += 3600
    again = LiveMessage(sender, ADA, message=message, standing=standing, note=note)
    await again.finish(parts, PATIENCE_SECONDS)
    assert [m["text"] for m in server.shown(7)] == ["It", "rained", "hard."]


async def test_an_end_whose_edit_is_cut_off_is_delivered_once(server, sender):
    stage = LiveMessage(sender, READERS)
    stage.show(words("writing", CANCEL))
    await server.until(lambda: server.shown(-1001))
    server.fail("editMessageText", "drop_after", "drop", 500)
    await stage.finish([words("The end.")])
    assert [m["text"] for m in server.shown(-1001)] == ["The end."]


async def test_a_message_deleted_while_it_grew_is_sent_anew_at_its_end(server, sender):
    stage = LiveMessage(sender, READERS)
    stage.show(words("writing", CANCEL))
    await server.until(lambda: server.shown(-1001))
    server.messages.clear()
    stage.show(words("It", CANCEL))
    await server.until(lambda: server.made("editMessageText"))
    await stage.finish([words("It rained.")])
    assert [m["text"] for m in server.shown(-1001)] == ["It rained."]


async def test_a_preview_becomes_the_picture(server, sender):
    stage = LiveMessage(sender, READERS)
    stage.show(words("waiting", CANCEL))
    stage.show(Photo(data=PNG, text="step 1", rows=CANCEL))
    await server.until(lambda: server.made("editMessageMedia", "sendPhoto"))
    await stage.finish([Photo(data=PNG + b"x", text="A ring."), words("seed 2")])
    first = server.shown(-1001)[0]
    assert first["caption"] == "A ring."
    assert "photo" in first


async def test_where_a_message_cannot_become_a_picture_a_new_one_is_sent(server, sender):
    stage = LiveMessage(sender, READERS)
    stage.show(words("waiting", CANCEL))
    await server.until(lambda: server.shown(-1001))
    server.fail("editMessageMedia", 404)
    await stage.finish([Photo(data=PNG, text="A ring.")])
    assert [m["caption"] for m in server.shown(-1001)] == ["A ring."]


async def test_a_token_that_is_no_longer_good_ends_the_polling(server, api):
    server.token = "123456789:another"
    with pytest.raises(InvalidToken):
        await poll(api, lambda _batch: None, print)


async def test_where_pictures_are_not_allowed_it_says_who_can_change_that(server, sender):
    server.chats[-1001].rights = frozenset({"text"})
    await LiveMessage(sender, READERS).finish([Photo(data=PNG, text="A ring.")])
    assert server.shown(-1001)[0]["text"].startswith(locale_words("telegram.no_media"))


async def test_where_nothing_may_be_written_that_is_the_end(server, sender):
    server.chats[-1001].rights = frozenset()
    with pytest.raises(Barred):
        await LiveMessage(sender, READERS).finish([words("The end.")])


async def test_an_answer_left_for_a_restart_says_so_in_its_message(server, sender):
    stage = LiveMessage(sender, ADA)
    stage.show(words("It", CANCEL))
    await server.until(lambda: server.shown(7))
    await stage.leave(words("Restarting."))
    assert [m["text"] for m in server.shown(7)] == ["Restarting."]
    assert buttons(server.shown(7)[0]) == []


async def test_a_pause_beyond_a_day_is_left_to_the_outbox(server, sender):
    sender.pace(ADA).hold(100_000)
    with pytest.raises(TooFast):
        await sender.deliver(ADA, words("Hm."))


async def test_polling_goes_on_through_faults_and_tells_of_another_program(server, api):
    server.fail("getUpdates", 409, "no json")
    server.push_raw({"update_id": "?"})
    server.push_raw(None)
    server.say("/queue")
    batches, told = [], []

    async def take(batch):
        batches.append(batch)

    polling = asyncio.create_task(poll(api, take, told.append))
    await server.until(lambda: batches)
    await server.until(lambda: not server.updates)  # confirmed
    polling.cancel()
    assert told == [CONFLICT]
    assert len(batches) == 1
    assert batches[0][2]["message"]["text"] == "/queue"


class Broken:
    """Something that nobody thought of."""

    def parse(self, text):
        raise RuntimeError(text)


async def test_what_fails_unexpectedly_is_told_in_a_kind_sentence(server, sender):
    listener = Handlers(Broken(), sender, "AnyBot")
    heard = TextUpdate(place=ADA, message=9, asker=7, text="It rained.")
    taken = []
    await listener.take(heard, lambda: taken.append(heard))
    assert KIND_SENTENCE in [m["text"] for m in server.shown(7)]
    assert taken

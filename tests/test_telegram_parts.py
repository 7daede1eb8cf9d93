"""Telegram's pure parts: what an update means, where it belongs, and how a text is cut."""

import copy
import io
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from telegram_parameters import units

from bot.messages.buttons import Press, Verb, encode
from bot.service.rate_limit import PACE, RateLimit, Repeats
from bot.telegram_client.api import Place, address, read_address
from bot.telegram_client.rendering import (
    File,
    TextMessage,
    caption,
    growing,
    parcel,
    showable,
)
from bot.telegram_client.update_queue import FLOOD, MOST_WAITING, ChatLocks
from bot.telegram_client.updates import (
    MEDIA,
    ButtonUpdate,
    MembershipUpdate,
    MigrationUpdate,
    TextUpdate,
    User,
    addressed,
    number_of,
    read,
)

ME = User(id=1, is_bot=True, username="AnyBot")
KNOWN = frozenset({"story", "help"})
JOB = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
ADA = {"id": 7, "is_bot": False, "first_name": "Ada", "language_code": "it"}
PRIVATE = {"id": 7, "type": "private", "first_name": "Ada"}
GROUP = {"id": -1001, "type": "supergroup", "title": "Readers", "is_forum": True}
KEYBOARD = {"inline_keyboard": [[{"text": "x", "callback_data": encode(Press(Verb.WHY, JOB))}]]}
ANSWER = {
    "message_id": 4,
    "from": {"id": 1, "is_bot": True},
    "chat": GROUP,
    "text": "An answer.",
    "reply_markup": KEYBOARD,
}


def message(text="Hm.", chat=GROUP, **more):
    return {
        "update_id": 5,
        "message": {"message_id": 9, "from": ADA, "chat": chat, "text": text} | more,
    }


def test_a_private_message_is_for_the_bot_whatever_it_says():
    heard = read(message("It rained.", PRIVATE), ME, KNOWN)
    assert heard == TextUpdate(
        place=Place(chat=7), message=9, asker=7, text="It rained.", locale="it"
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/story It rained.", "/story It rained."),
        ("/story@anybot It rained.", "/story@anybot It rained."),
        ("/story@OtherBot It rained.", None),
        ("/roll 3", None),
        ("what a day", None),
        ("@AnyBot what a day", "what a day"),
        ("hello @AnyBotany", None),
    ],
)
def test_in_a_group_only_what_is_addressed_to_the_bot_is_heard(text, said):
    assert addressed(text, "AnyBot", KNOWN, to_me=False) == said


@pytest.mark.parametrize("text", ["/story@OtherBot Hm.", "/start@OtherBot", "/roll 3", "/"])
def test_a_command_for_others_is_left_to_them_where_all_else_is_overheard(text):
    assert read(message("what a day"), ME, KNOWN).overheard
    assert read(message(text), ME, KNOWN) is None


def test_a_reply_to_an_answer_names_its_job():
    heard = read(message("and then?", reply_to_message=ANSWER), ME, KNOWN)
    assert heard.text == "and then?"
    assert heard.reply_to == JOB
    assert not heard.overheard


def test_a_topic_is_kept_and_the_general_one_is_none():
    there = message("/help", message_thread_id=4, is_topic_message=True)
    general = message("/help", message_thread_id=4)
    assert read(there, ME, KNOWN).place == Place(chat=-1001, thread=4)
    assert read(general, ME, KNOWN).place == Place(chat=-1001)


def test_bots_and_channels_are_not_listened_to():
    bot = message("/help", **{"from": {"id": 2, "is_bot": True}})
    channel = message("/help")
    del channel["message"]["from"]
    assert read(bot, ME, KNOWN) is None
    assert read(channel, ME, KNOWN) is None


MODERATOR = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
CHANNEL = {"id": -1009, "type": "channel", "title": "News"}


@pytest.mark.parametrize(
    "unsaid",
    [
        {"from": {"id": 777000, "is_bot": False}, "sender_chat": CHANNEL, "is_automatic_forward": True},
        {"from": {"id": 136817688, "is_bot": True}, "sender_chat": CHANNEL},
        {"from": MODERATOR, "sender_chat": CHANNEL},
        {"from": MODERATOR},
        {"via_bot": {"id": 3, "is_bot": True}},
        {"text": None, "new_chat_title": "A tale of the sea"},
        {"text": None, "pinned_message": ANSWER},
    ],
)  # fmt: skip
def test_what_the_platform_puts_into_a_persons_mouth_is_not_heard(unsaid):
    for chat in (GROUP, PRIVATE):
        assert read(message("/story Hm.", chat) | {}, ME, KNOWN) is not None
        assert read(message(**({"text": "/story Hm.", "chat": chat} | unsaid)), ME, KNOWN) is None


def test_an_administrator_who_writes_as_the_group_is_the_group():
    heard = read(message("/story Hm.", **{"from": MODERATOR, "sender_chat": GROUP}), ME, KNOWN)
    assert heard.unnamed
    assert heard.asker == GROUP["id"]


def test_a_forward_is_a_third_persons_words():
    origin = {"type": "hidden_user", "sender_user_name": "B", "date": 1}
    assert read(message("It rained.", PRIVATE, forward_origin=origin), ME, KNOWN).borrowed
    assert not read(message("It rained.", PRIVATE), ME, KNOWN).borrowed


@pytest.mark.parametrize("kind", MEDIA)
def test_whatever_a_person_sends_in_private_is_heard_as_no_words(kind):
    assert read(message(None, PRIVATE, **{kind: {}}), ME, KNOWN).text == ""


def test_both_chats_tell_that_a_group_became_a_supergroup():
    old = GROUP | {"id": -7, "type": "group"}
    told = (
        message(None, old, migrate_to_chat_id=-1001),
        message(None, migrate_from_chat_id=-7),
    )
    for each in told:
        assert read(each, ME, KNOWN) == MigrationUpdate(place=Place(chat=-7), now=Place(chat=-1001))


def test_a_voice_message_is_heard_as_no_words_in_private_only():
    voice = {"voice": {"file_id": "v"}}
    assert read(message(None, PRIVATE, **voice), ME, KNOWN).text == ""
    assert read(message(None, GROUP, **voice), ME, KNOWN) is None


def test_a_press_and_a_foreign_button_are_told_apart():
    query = {"id": "q", "from": ADA, "message": ANSWER, "data": encode(Press(Verb.WHY, JOB))}
    pressed = read({"update_id": 1, "callback_query": query}, ME, KNOWN)
    assert isinstance(pressed, ButtonUpdate)
    assert pressed.press == Press(Verb.WHY, JOB)
    assert read({"update_id": 1, "callback_query": query | {"data": "?"}}, ME, KNOWN).press is None


def test_being_sent_away_is_noticed():
    member = {"chat": GROUP, "from": ADA, "new_chat_member": {"status": "kicked"}}
    assert read({"update_id": 1, "my_chat_member": member}, ME, KNOWN) == MembershipUpdate(
        place=Place(chat=-1001), back=False
    )


SCRAPS = [None, 0, -1, 2**70, "", "x" * 5000, [], {}, [[]], True, 1.5, "\ud800", {"id": {}}]


def mutated(value, rng):
    """The value with something in it exchanged, left out or doubled."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        if rng.random() < 0.2:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: mutated(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.8:
        place = rng.randrange(len(value))
        return [*value[:place], mutated(value[place], rng), *value[place:]]
    return copy.deepcopy(rng.choice(SCRAPS))


def test_ten_thousand_mutated_updates_are_read_or_refused():
    rng = random.Random(5)
    query = {"id": "q", "from": ADA, "message": ANSWER, "data": encode(Press(Verb.WHY, JOB))}
    sound = [
        message("/story Hm.", PRIVATE),
        message("and then?", reply_to_message=ANSWER),
        {"update_id": 1, "callback_query": query},
        {"update_id": 1, "my_chat_member": {"chat": GROUP, "new_chat_member": {"status": "left"}}},
    ]
    refused = 0
    for _ in range(10_000):
        update = rng.choice(sound)
        for _ in range(rng.randrange(1, 4)):
            update = mutated(update, rng)
        number_of(update)
        try:
            read(update, ME, KNOWN)
        except ValueError:
            refused += 1
    assert 1_000 < refused < 10_000


@given(st.integers(-(2**60), 2**60), *[st.integers(0, 2**40)] * 2, st.integers(0, 30))
def test_an_address_is_read_back_as_written(chat, thread, message, parts):
    place = Place(chat=chat, thread=thread)
    found = (place, message, parts if message else 0)
    assert read_address(address(place, message, parts)) == found


@given(st.text(max_size=9000), st.text(max_size=300))
def test_every_part_of_an_answer_is_taken_by_telegram(text, below):
    items = parcel(text, [below], (), "answer.txt", "whole")
    for item in items:
        assert units(item.text) <= 4096


def test_a_very_long_answer_is_its_opening_and_a_file():
    text = "It rained. " * 3000
    opening, file = parcel(text, ["AI-generated"], (), "answer.txt", "whole")
    assert isinstance(opening, TextMessage)
    assert opening.text.endswith("AI-generated")
    assert isinstance(file, File)
    assert file.data.decode() == text


@given(st.text(max_size=12_000))
def test_a_growing_text_and_a_caption_always_fit(text):
    assert units(growing(text)) <= 4096
    assert units(caption([text])) <= 1024


def test_a_picture_too_heavy_for_a_photo_becomes_a_smaller_jpeg():
    noise = Image.frombytes("RGB", (2000, 2000), random.Random(1).randbytes(12_000_000))
    png = io.BytesIO()
    noise.save(png, "PNG")
    assert len(png.getvalue()) > 10_000_000
    made = showable(png.getvalue())
    assert made.startswith(b"\xff\xd8")
    assert len(made) <= 10_000_000


@pytest.mark.parametrize("size", [(1536, 64), (64, 1536), (9000, 2000), (21, 1)])
def test_a_picture_of_odd_sides_is_one_that_telegram_shows(size):
    png = io.BytesIO()
    Image.new("RGB", size, "gold").save(png, "PNG")
    with Image.open(io.BytesIO(showable(png.getvalue()))) as made:
        assert sum(made.size) <= 10_000
        assert max(made.size) <= 20 * min(made.size)


def test_a_repeated_update_is_known_by_its_number():
    seen = Repeats(2)
    assert [seen.new(n) for n in (1, 2, 1)] == [True, True, False]
    assert [seen.new(n) for n in (3, 1)] == [True, True]  # the oldest was let go


def test_who_asks_again_and_again_hears_the_refusal_again():
    time = [0.0]
    refusals = Repeats(9, lambda: time[0])
    told = []
    for time[0] in range(0, 60, 19):
        told.append(refusals.new("too fast", 20))
    assert told == [True, False, True, False]


def test_who_floods_is_not_listened_to_for_a_while():
    time = [0.0]
    flood = RateLimit(FLOOD, lambda: time[0])
    assert sum(flood.allows(7) for _ in range(100)) == FLOOD.burst
    assert flood.allows(8)
    time[0] = 5 * 3600 / FLOOD.hourly
    assert sum(flood.allows(7) for _ in range(100)) == 5


def test_a_flood_is_dropped_in_silence_only_beyond_what_is_refused_in_words():
    assert FLOOD.burst > PACE.burst
    assert FLOOD.hourly > PACE.hourly


async def test_a_chat_is_taken_in_in_order_and_its_line_is_bounded():
    import asyncio

    lines, order = ChatLocks(), []

    async def take(number):
        async with lines.turn(7):
            await asyncio.sleep(0)
            order.append(number)

    async with asyncio.TaskGroup() as tasks:
        for number in range(MOST_WAITING):
            lines.enter(7)
            tasks.create_task(take(number))
        assert lines.full(7)
        assert not lines.full(8)
    assert order == list(range(MOST_WAITING))
    assert not lines.full(7)

"""Telegram as people meet it: `pastiche serve` beside a loopback Bot API, limits and faults included."""

import asyncio
import sqlite3
import time
from contextlib import closing

import pytest
import pytest_asyncio
from telegram_chats import buttons
from telegram_program import Program
from telegram_server import TelegramServer

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]

LONG = "in the style of Agatha Christie, with eldritch horrors: --seed 4294967295 --"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def program(tmp_path_factory):
    """One process for all tests of this file, each with chats of its own; logging at DEBUG."""
    async with (
        TelegramServer() as server,
        Program(tmp_path_factory.mktemp("telegram"), server) as made,
    ):
        yield made


@pytest.fixture
def server(program):
    return program.server


def told(server, name):
    """What was said above the chat to the one who pressed."""
    return server.until(lambda: server.answered.get(name))


async def said(server, query, chat, words):
    """Above the chat or, where the work took longer than a notice may wait, in it."""
    await server.until(
        lambda: (
            words in server.answered.get(query, {}).get("text", "")
            or any(words in message.get("text", "") for message in server.shown(chat))
        )
    )


async def test_the_first_lines_say_who_and_where_it_is(program):
    assert "https://t.me/PasticheTestBot" in program.said
    assert "menus of commands sent" in program.said


async def test_menus_differ_by_chat_and_language(server):
    english = {c["command"]: c for c in server.commands[("all_private_chats", "")]}
    italian = {c["command"]: c for c in server.commands[("all_private_chats", "it")]}
    assert {"start", "story", "news", "jewel", "help", "privacy", "forget"} <= english.keys()
    assert "start" not in {c["command"] for c in server.commands[("all_group_chats", "")]}
    assert "stories" in english
    managers = server.commands[("all_chat_administrators", "")]
    assert "settings" in {c["command"] for c in managers}
    assert italian["story"]["description"] != english["story"]["description"]


async def test_start_is_answered_with_one_example_in_the_askers_language(server):
    server.private(10)
    server.say("/start", 10, 10, language="it")
    answer = await server.answer_in(10, "generato dall'IA")
    assert answer["text"].count("/story") == 1


async def test_a_story_grows_in_one_message_and_ends_there_with_buttons(server):
    server.private(11)
    server.say("/story They sat alone ::slow:: in the room", 11, 11)
    waiting = await server.until(lambda: server.shown(11))
    assert [b["text"] for b in buttons(waiting[0])] == ["Cancel"]
    answer = await server.answer_in(11, "AI-generated")
    assert answer["text"].startswith("They sat alone ::slow:: in the room\n\n")
    assert answer["text"].count("AI-generated") == 1
    grown = [c.params["text"] for c in server.made("editMessageText") if c.chat == 11]
    grown = [text for text in grown if text.endswith("…")]
    assert len(grown) >= 2
    assert [len(text) for text in grown] == sorted(len(text) for text in grown)
    assert answer["message_id"] == waiting[0]["message_id"]
    assert {"Continue", "Again", "Why?", "Delete", "Report"} <= {b["text"] for b in buttons(answer)}
    assert len(server.shown(11)) == 1


async def test_in_a_group_one_message_grows_at_the_groups_pace(server):
    server.group(-112)
    asked = time.monotonic()
    server.say("/story@PasticheTestBot one ::slow:: two three four", -112, 12)
    answer = await server.answer_in(-112, "AI-generated")
    calls = [c for c in server.made("sendMessage", "editMessageText") if c.chat == -112]
    assert len({c.result["message_id"] for c in calls}) == 1
    assert len(calls) >= 3
    # None comes sooner than its turn; between two that arrive a busy machine leaves any time.
    assert all(call.at > asked + 3.0 * turn for turn, call in enumerate(calls))
    assert answer["reply_to_message"]["from"]["id"] == 12


async def test_in_a_group_nothing_but_what_is_meant_for_it_is_answered(server):
    server.group(-113)
    server.say("/story@OtherBot Hm.", -113, 13)
    server.say("/roll 6", -113, 13)
    server.say("what a day", -113, 13, overheard=True)
    server.say("/queue", -113, 13)
    await server.until(lambda: server.shown(-113))
    await asyncio.sleep(0.2)
    assert len(server.shown(-113)) == 1


async def test_only_the_asker_may_cancel(server):
    server.group(-114)
    server.say("/story one ::slow:: two three four five six seven eight nine ten", -114, 14)
    waiting = (await server.until(lambda: server.shown(-114)))[0]
    await said(server, server.press(waiting, "Cancel", 15), -114, "Only the person")
    query = server.press(waiting, "Cancel", 14)
    await said(server, query, -114, "Stopping")
    assert server.answered[query]["after"] < 7, "before the words that are still to come"
    stopped = await server.answer_in(-114, "Stopped.")
    assert "ten" not in stopped["text"].split()


async def test_words_in_reply_to_an_answer_go_on_from_it(server):
    server.private(16)
    server.say("/story It rained.", 16, 16)
    first = await server.answer_in(16, "AI-generated")
    server.say("/story The sun shone.", 16, 16)
    await server.answer_in(16, "The sun shone.")
    server.say("and nobody came", 16, 16, reply_to=first)
    await server.answer_in(16, "It rained. and nobody came")


async def test_buttons_do_what_they_say(server):
    server.private(17)
    server.say("/story It rained.", 17, 17)
    answer = await server.answer_in(17, "AI-generated")
    await said(server, server.press(answer, "👍", 17), 17, "Thank you")
    server.press(answer, "Another style", 17)
    question = await server.answer_in(17, "In which style?")
    server.press(question, "Agatha Christie", 17)
    await server.answer_in(17, "in the manner of Agatha Christie")
    await server.until(lambda: question["message_id"] not in _ids(server, 17))
    server.press(answer, "Delete", 17)
    await server.until(lambda: answer["message_id"] not in _ids(server, 17))


@pytest.mark.parametrize(("chat", "asked"), [(171, "--seed 7 --"), (172, LONG)])
async def test_an_explanation_is_a_message_however_short(server, chat, asked):
    server.private(chat)
    server.say(f"/story {asked} It rained.", chat, chat)
    answer = await server.answer_in(chat, "AI-generated")
    query = server.press(answer, "Why?", chat)
    why = await server.answer_in(chat, "router version")
    assert (len(why["text"]) > 200) == (asked == LONG)
    assert not (await told(server, query)).get("text")


async def test_a_foreign_button_is_answered_kindly(server):
    server.private(18)
    message = server.say("/queue", 18, 18)
    shown = await server.answer_in(18, "Nothing is waiting")
    for data in ("", "p1:c:nonsense", "x" * 500):
        assert "command" in (await told(server, server.query(shown, data, 18)))["text"]
    assert message


async def test_a_repeated_update_is_answered_once(server):
    server.private(19)
    server.say("/story It rained twice.", 19, 19)
    server.push_raw(server.updates[-1])
    await server.answer_in(19, "AI-generated")
    server.push_raw({**server.updates[-1]} if server.updates else {})
    server.say("/queue", 19, 19)
    await server.answer_in(19, "Nothing is waiting")
    assert sum("AI-generated" in m["text"] for m in server.shown(19)) == 1


async def test_a_long_answer_is_split_and_a_very_long_one_is_a_file(server):
    server.private(20)
    server.say("/story " + f"The rain {'went' * 20} on. " * 40 + "🕯" * 300, 20, 20)
    await server.answer_in(20, "AI-generated")
    await server.until(lambda: len(server.shown(20)) == 2)
    assert "AI-generated" in server.shown(20)[1]["text"]
    server.private(21)
    server.say("/story " + f"{'Extraordinarily' * 9} " * 140, 21, 21)
    sent = await server.until(
        lambda: [call for call in server.made("sendDocument") if call.params["chat_id"] == 21]
    )
    assert sent[-1].files["document"].count(b"Extraordinarily") == 9 * 140


async def test_a_topic_is_answered_in_that_topic_and_general_in_general(server):
    server.group(-122, forum=True)
    server.chats[-122].topics.add(5)
    server.say("/queue", -122, 22, thread=5)
    there = await server.answer_in(-122, "Nothing is waiting")
    assert there["message_thread_id"] == 5
    server.group(-1221, forum=True)
    server.say("/queue", -1221, 22, reply_to=server.say("what a day", -1221, 23))
    here = await server.answer_in(-1221, "Nothing is waiting")
    assert "message_thread_id" not in here


async def test_a_pause_that_telegram_asks_for_is_kept_and_the_end_still_comes(server):
    server.private(23)
    server.fail("sendMessage", 429, retry_after=3, when=lambda p: p["chat_id"] == 23)
    server.say("/story one two three", 23, 23)
    await server.answer_in(23, "AI-generated")
    assert server.disobeyed["retry_after"] == 0


async def test_a_connection_cut_in_mid_edit_loses_and_doubles_nothing(server):
    server.group(-124)

    def the_end(params):  # an edit under way is not repeated where a newer one is there
        return params["chat_id"] == -124 and "AI-generated" in params["text"]

    server.fail("editMessageText", "drop_after", when=the_end)
    server.say("/story one ::slow:: two", -124, 24)  # so that it has begun before its end
    await server.answer_in(-124, "AI-generated", 60)
    await server.until(lambda: server.disobeyed.pop("identical edit", 0))  # right after a cut
    assert len(server.shown(-124)) == 1


async def test_a_picture_sharpens_and_its_original_is_a_document(server):
    server.private(25)
    server.say("/jewel a silver ring --size 64", 25, 25)
    picture = await server.answer_in(25, "AI-generated", 60)
    assert "photo" in picture
    sent = len(server.made("sendDocument"))
    server.press(picture, "Original", 25)
    await server.until(lambda: len(server.made("sendDocument")) > sent)
    assert server.made("sendDocument")[-1].files["document"].startswith(b"\x89PNG")


async def test_where_the_bot_is_blocked_it_is_silent_and_others_are_served(server):
    server.private(26)
    server.say("/story one ::slow:: two three", 26, 26)
    await server.until(lambda: server.shown(26))
    server.shut(26)
    server.private(27)
    server.say("/queue", 27, 27)
    await server.until(lambda: server.shown(27))


async def test_forgetting_takes_two_steps_and_is_private(server):
    server.group(-128)
    server.private(28)
    server.say("/forget", -128, 28)
    question = await server.answer_in(28, "Shall I?")
    await server.answer_in(-128, "privately")
    server.press(question, "Yes", 28)
    await server.answer_in(28, "Done.")


async def test_settings_are_for_those_who_manage_the_group(server):
    server.group(-129, admins=(29,))
    server.say("/settings style agatha", -129, 30)
    await server.answer_in(-129, "Only those who manage")
    server.say("/settings style agatha", -129, 29)
    await server.answer_in(-129, "Done.")
    server.say("/Settings style none", -129, 29)
    await server.answer_in(-129, "no default style")


async def test_what_is_no_text_gets_a_kind_word(server):
    server.private(31)
    message = {"message_id": 1, "from": server.user(31), "chat": server.chats[31].about, "date": 0}
    server.push(message={**message, "voice": {"file_id": "v"}})
    await server.answer_in(31, "I can only read text.")


async def test_what_was_asked_in_a_group_is_unknown_in_a_private_chat(server):
    server.group(-132)
    server.private(32)
    server.say("/story In the group.", -132, 32)
    await server.until(lambda: server.shown(-132))
    server.say("/continue", 32, 32)
    await server.answer_in(32, "nothing of yours from this chat")


async def test_where_it_may_not_write_it_tells_the_asker_who_can_change_that(server):
    server.group(-133)
    server.private(33)
    server.chats[-133].rights = frozenset()
    server.say("/queue", -133, 33)
    await server.answer_in(33, "administrator")


async def test_a_report_without_a_reply_takes_away_the_answer_that_it_means(program, server):
    group = server.group(-134)
    server.private(134)
    server.say("/story A vile tale.", group, 135)
    server.say("/story It rained.", 134, 134)
    answer = await server.answer_in(group, "AI-generated")
    await server.answer_in(134, "AI-generated")
    with closing(sqlite3.connect(program.folder / "home" / "ledger.sqlite3")) as ledger, ledger:
        ledger.execute("update askers set created_at = created_at - 90000")
    await told(server, server.press(answer, "Report", 134))
    server.say("/report it is vile", group, 135)
    await server.until(lambda: answer["message_id"] not in _ids(server, group))


async def test_a_pair_is_shown_together_voted_on_and_revealed_in_place(server):
    server.private(35)
    server.say("/compare They _sat_ ::slow:: alone", 35, 35)
    waiting = await server.answer_in(35, "Two answers are being written")
    assert [b["text"] for b in buttons(waiting)] == ["Cancel"]
    pair = await server.answer_in(35, "Which is better?")
    assert (
        "They _sat_ ::slow:: alone" in pair["text"] and "alone ::slow:: _sat_ They" in pair["text"]
    )
    assert [b["text"] for b in buttons(pair)] == ["A", "B", "Equally good", "Both bad"]
    server.private(36)
    await said(server, server.press(pair, "A", 36), 35, "somebody else's")
    server.press(pair, "Equally good", 35)
    chosen = await server.answer_in(35, "You chose: Equally good")
    assert chosen["message_id"] == pair["message_id"]
    server.press(chosen, "Show me", 35)
    shown = await server.answer_in(35, "the base model alone")
    assert shown["message_id"] == pair["message_id"] and not buttons(shown)


async def test_a_pair_of_pictures_is_one_picture_with_its_vote(server):
    server.private(37)
    server.say("/compare --size 64 -- /jewel a ring", 37, 37)
    pair = await server.answer_in(37, "A is the left picture")
    assert pair["photo"] and "B" in [b["text"] for b in buttons(pair)]
    server.press(pair, "B", 37)
    await server.answer_in(37, "You chose: B")


async def test_a_passage_is_guessed_and_told_in_place(server):
    server.private(38)
    server.say("/guess", 38, 38)
    passage = await server.answer_in(38, "by a person, or by a machine?")
    server.press(passage, "By a machine", 38)
    asked = await server.answer_in(38, "How sure are you")
    server.press(asked, "4", 38)
    shown = await server.answer_in(38, "of 1 times")
    assert shown["message_id"] == passage["message_id"]
    server.press(shown, "Another one", 38)
    await server.until(lambda: len(server.shown(38)) == 2)


async def test_no_limit_was_broken_and_no_token_was_logged(program, server):
    assert not server.disobeyed
    assert server.token not in program.said
    assert len(program.logged) > 1000
    assert server.token not in program.logged
    assert "sat alone" not in program.logged
    assert "an update failed" not in program.said


def _ids(server, chat):
    return {m["message_id"] for m in server.shown(chat)}


MODERATOR = {
    "id": 1087968824,
    "is_bot": True,
    "first_name": "Group",
    "username": "GroupAnonymousBot",
}


async def test_an_album_is_answered_once(server):
    server.private(50)
    photo = [{"file_id": "p", "file_unique_id": "p", "width": 1, "height": 1}]
    for number in range(5):
        server.say("", 50, 50, photo=photo, media_group_id="71", caption="" if number else "/queue")
    await server.answer_in(50, "Nothing is waiting")
    for _ in range(5):
        server.say("", 50, 50, photo=photo, media_group_id="72")
    await server.answer_in(50, "only read text")
    server.say("/styles", 50, 50)
    await server.answer_in(50, "Lovecraft")
    assert len(server.shown(50)) == 3


async def test_a_group_that_becomes_a_supergroup_keeps_what_is_set_for_it(server):
    old, new = server.group(-151, admins=(51,)), server.group(-1151, admins=(51,))
    server.say("/settings style agatha", old, 51)
    await server.answer_in(old, "agatha")
    server.chats[old].moved_to = new
    for chat, told in ((old, {"migrate_to_chat_id": new}), (new, {"migrate_from_chat_id": old})):
        server.push(message=server.say("", chat, 51, overheard=True) | told)
    server.say("/settings", new, 52)
    await server.answer_in(new, "agatha")


async def test_administrators_press_below_what_one_of_them_asked_as_the_group(server):
    group = server.group(-153, admins=(53,))
    server.say("/story It rained.", group, sender_chat={"id": group, "type": "supergroup"},
               **{"from": MODERATOR})  # fmt: skip
    answer = await server.answer_in(group, "AI-generated")
    await said(server, server.press(answer, "Again", 54), group, "Only the person")
    server.press(answer, "Again", 53)
    await server.until(lambda: sum("AI-gen" in m["text"] for m in server.shown(group)) == 2)


async def test_the_privacy_notice_waits_for_nothing(program, server):
    server.private(60)
    with closing(sqlite3.connect(program.folder / "home" / "ledger.sqlite3")) as ledger:
        ledger.execute("BEGIN IMMEDIATE")
        server.say("/queue", 60, 60)
        server.say("/privacy", 60, 60)
        first = (await server.until(lambda: server.shown(60)))[0]
        ledger.rollback()
    assert "72 hours" in first["text"]
    await server.answer_in(60, "Nothing is waiting")

"""The study as people meet it on Telegram and Discord: `pastiche serve` beside loopback servers."""

import json
from pathlib import Path

import pytest
import pytest_asyncio
from discord_people import People
from discord_program import Program as DiscordProgram
from discord_program import served
from discord_world import ALICE, BOB, CHANNEL, EPHEMERAL, GUILD, OWNER, Interaction, Message
from flows import FLOW, make_flow
from looking import look
from program import pastiche
from telegram_chats import buttons
from telegram_program import Program
from telegram_server import TelegramServer

from engine.settings import Settings

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.slow]


TWO_STEPS = (
    FLOW.partition("[exclude]")[0]
    + """
[[step]]
kind = "questions"
[[step.questions]]
id = "age"
text = "How old are you?"
kind = "number"
[[step]]
kind = "guess"
stimuli = "manner"
"""
)
STEPS = (
    ("I am 18 or older", "2 of 4"),
    ("Yes", "3 of 4"),
    ("Yes", "4 of 4"),
    ("No", "Only when you save"),
)
RATE = """id = "quality"
title = "A second look"
hypothesis = "Raters agree on what is good."
task = "flow"
start = 2020-01-01
stop = 2099-12-31
max_n = 50
annotators = 2
completion_code = true
[[step]]
kind = "rate"
stimuli = "manner"
count = 2
[[step.questions]]
id = "good"
text = "How good is it?"
"""


def make_rated(folder: Path) -> None:
    """A flow for everybody, and one for annotators."""
    (make_flow(folder / "home", TWO_STEPS) / "experiments/quality.toml").write_text(RATE)


def invited(env: dict[str, str]) -> str:
    """An annotator's code, got beside the bot that runs."""
    done = pastiche("study", "annotators", "--add", "Ann", "--study", "pilot", **env)
    assert done.returncode == 0, done
    return done.stdout.decode().partition("/rate ")[2].split()[0]


# Telegram


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(tmp_path_factory):
    """One process with a study, for the tests of Telegram."""
    folder = tmp_path_factory.mktemp("telegram")
    make_rated(folder)
    async with TelegramServer() as made, Program(folder, made, PASTICHE_STUDY="pilot") as program:
        made.env = program.env
        yield made


def text_of(server, message):
    return server.messages[(message["chat"]["id"], message["message_id"])]["text"]


async def walked(server, form, *labels, user):
    """Press one button after another on the same message."""
    for label, next_words in labels:
        server.press(form, label, user)
        await server.until(lambda words=next_words: words in text_of(server, form))


async def test_on_telegram_one_tap_leads_from_a_first_answer_to_consent(server):
    server.private(21)
    server.say("The vicar coughed.", 21, 21)
    invited = await server.answer_in(21, "Pastiche and its readers")
    assert [b["text"] for b in buttons(invited)] == ["Tell me about the study"]
    server.press(invited, "Tell me", 21)
    form = await server.answer_in(21, "1 of 4")
    assert "A study by A. Researcher" in form["text"]
    await walked(
        server,
        form,
        ("18 or older", "2 of 4"),
        ("Yes", "3 of 4"),
        ("No", "4 of 4"),
        ("No", "Only when you save"),
        ("Save", "you take part from now on"),
        user=21,
    )
    shown = server.messages[(21, form["message_id"])]
    assert [b["text"] for b in buttons(shown)] == ["Begin, or go on"]
    server.say("The doctor laughed.", 21, 21)
    await server.until(
        lambda: sum("AI-generated" in m.get("text", "") for m in server.shown(21)) == 2
    )
    server.say("/mydata", 21, 21)
    await server.until(lambda: [c for c in server.made("sendDocument") if c.chat == 21])


async def test_in_a_group_consent_is_asked_for_in_private_and_never_of_another(server):
    server.group(-221, admins=(22,))
    server.private(22)
    server.say("/consent@PasticheTestBot", -221, 22)
    form = await server.answer_in(22, "1 of 4")
    await server.answer_in(-221, "written to you privately")
    assert "1 of 4" not in str([m.get("text") for m in server.shown(-221)])
    server.say("/consent@PasticheTestBot", -221, 23)  # somebody whom the bot may not write to
    await server.answer_in(-221, "t.me/PasticheTestBot?start=consent")
    pressed = server.query(form, buttons(form)[0]["callback_data"], 23)
    told = await server.until(lambda: server.answered.get(pressed))
    assert "somebody else's" in str(told)
    server.private(23)
    server.say("/start consent", 23, 23)
    await server.answer_in(23, "1 of 4")


async def test_a_group_comes_in_by_its_managers_and_goes_out_with_the_bot(server):
    server.group(-224, admins=(24,))
    server.say("/study@PasticheTestBot on", -224, 25)
    await server.answer_in(-224, "Only those who manage this group or server")
    server.say("/study@PasticheTestBot on", -224, 24)
    await server.answer_in(-224, "This group or server takes part")
    server.shut(-224, "kicked")
    server.chats[-224].closed = ""
    server.say("/study@PasticheTestBot show", -224, 25)
    await server.answer_in(-224, "does not take part")


async def test_on_telegram_a_panels_link_leads_through_a_flow_to_its_code(server):
    server.private(26)
    server.say("/start join-P26", 26, 26)
    form = await server.answer_in(26, "1 of 4")
    await walked(
        server,
        form,
        *((label.removeprefix("I am "), told) for label, told in STEPS),
        ("Save", "you take part from now on"),
        ("Begin", "How old are you?"),
        user=26,
    )
    server.say("44", 26, 26)
    passage = await server.answer_in(26, "by a person, or by a machine?")
    await walked(
        server,
        passage,
        ("By a person", "How sure"),
        ("4", "noted"),
        ("Go on", "Your completion code"),
        user=26,
    )
    assert "who=P26" in text_of(server, passage)


async def test_on_telegram_an_annotators_link_leads_to_the_items_and_to_a_code(server):
    server.private(27)
    server.say(f"/start rate-{invited(server.env)}", 27, 27)
    form = await server.answer_in(27, "1 of 4")
    await walked(
        server,
        form,
        *((label.removeprefix("I am "), told) for label, told in STEPS),
        ("Save", "you take part from now on"),
        ("Begin", "How good is it?"),
        user=27,
    )
    first = text_of(server, form)
    server.press(form, "4", 27)
    await server.until(lambda: text_of(server, form) != first)
    assert "How good is it?" in text_of(server, form), "another one"
    await walked(server, form, ("5", "Your completion code"), user=27)


# Discord


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving(tmp_path_factory):
    """One process with a study, for the tests of Discord."""
    folder = tmp_path_factory.mktemp("discord")
    make_rated(folder)
    async with served(folder, PASTICHE_STUDY="pilot") as both:
        yield both


@pytest.fixture
def people(serving: tuple[DiscordProgram, People]) -> People:
    return serving[1]


async def having(people: People, made: Interaction, words: str) -> Message:
    """The message with these words that a command or press brought, or changed."""
    return await people.discord.wait(
        lambda: next((m for m in made.said if words in m.content), None)
    )


async def test_on_discord_all_of_it_is_seen_by_its_asker_only(people: People) -> None:
    on = await people.slash("study", by=OWNER, text="on")
    shown = await having(people, on, "This group or server takes part")
    assert not shown.flags & EPHEMERAL
    refused = await people.slash("study", by=BOB, text="off")
    await having(people, refused, "Only those who manage")
    story = await people.slash("story", by=ALICE, text="The vicar coughed.")
    invited = await having(people, story, "Pastiche and its readers")
    assert invited.flags & EPHEMERAL
    form = await people.press(invited, "Tell me about the study")
    text = message = await having(people, form, "1 of 4")
    for label, words in (*STEPS, ("Save", "you take part from now on")):
        assert message.flags & EPHEMERAL
        assert len(message.content) <= 2000
        made = await people.press(message, label)
        on = await having(people, made, words)
        assert (on is message) == (message is not text), "the form goes on where it stands"
        message = on
    assert "A study by A. Researcher" in text.content, "which stays above it"
    mine = await people.slash("mydata", by=ALICE)
    told = await having(people, mine, "everything that I keep about you")
    assert told.flags & EPHEMERAL
    page, (name, data) = told.files
    assert page[0] == "mydata.html" and name == "mydata.json"
    assert json.loads(data)["tables"]["consents"]
    left = await people.slash("withdraw", by=ALICE)
    asked = await having(people, left, "nothing is collected")
    deleted = await people.press(asked, "Delete it")
    await having(people, deleted, "are deleted (0)")


async def test_a_server_that_sends_the_bot_away_takes_part_no_more(
    serving: tuple[DiscordProgram, People],
) -> None:
    program, people = serving
    await people.slash("study", by=OWNER, text="on")
    final = await people.slash("story", by=BOB, at=CHANNEL, text="It rained.")
    await people.discord.wait(lambda: next((m for m in final.said if m.buttons), None))
    folder = program.folder
    ledger = Settings(home=program.home, backend="echo")

    def rows(query: str) -> list[tuple]:
        return look(ledger, query)

    assert rows("select count(*) from requests")[0][0] > 0
    await people.discord.gateway.dispatch("GUILD_DELETE", {"id": GUILD})
    await people.discord.wait(
        lambda: rows("select action from study_places order by id desc limit 1") == [("left",)]
    )
    await people.discord.wait(lambda: rows("select count(*) from requests") == [(0,)])
    assert folder.exists()


async def test_on_discord_a_panels_id_leads_through_a_flow_to_its_code(people: People) -> None:
    alone = people.discord.private(BOB)
    asked = await people.slash("study", by=BOB, at=alone, text="join P4")
    shown = await having(people, asked, "1 of 4")
    for label, words in (*STEPS, ("Save", "you take part"), ("Begin, or go on", "How old")):
        shown = await having(people, await people.press(shown, label, by=BOB), words)
    await people.tell("44", by=BOB)
    shown = await people.discord.wait(
        lambda: next(
            (
                m
                for m in people.discord.messages.values()
                if m.channel == alone and "by a person, or" in m.content
            ),
            None,
        )
    )
    for label, words in (("By a person", "How sure"), ("4", "noted"), ("Go on", "completion code")):
        await people.press(shown, label, by=BOB)
        await people.discord.wait(lambda said=words: said in shown.content)
    assert "who=P4" in shown.content


async def test_on_discord_an_annotators_code_leads_to_the_items_and_to_a_code(
    serving: tuple[DiscordProgram, People],
) -> None:
    program, people = serving
    alone, code = people.discord.private(OWNER), invited(program.env)
    asked = await people.slash("rate", by=OWNER, at=alone, text=code)
    item = await having(people, asked, "1 of 4")
    for label, words in (*STEPS, ("Save", "you take part"), ("Begin, or go on", "How good is it?")):
        item = await having(people, await people.press(item, label, by=OWNER), words)
    first = item.content
    await people.press(item, "4", by=OWNER)
    await people.discord.wait(lambda: item.content != first)
    assert "How good is it?" in item.content, "another one"
    await people.press(item, "5", by=OWNER)
    await people.discord.wait(lambda: "Your completion code" in item.content)

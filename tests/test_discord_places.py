"""Discord over the wire: pictures, places with settings of their own, servers that the bot is not in."""

import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing

import pytest
import pytest_asyncio
from discord_people import People
from discord_program import Program, served
from discord_server import DiscordServer
from discord_world import (
    ALICE,
    APP,
    BOB,
    CAROL,
    CHANNEL,
    ELSEWHERE,
    EPHEMERAL,
    OWNER,
    THREAD,
    Interaction,
    Message,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

AI = "AI-generated"
OPERATOR = str(9 * 10**17)
PNG = b"\x89PNG"
STAMP = "2026-11-26T12:00:00+00:00"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Program, People]]:
    operator = {"OPERATORS": f"discord:{OPERATOR}"}
    async with served(tmp_path_factory.mktemp("discord"), **operator) as both:
        yield both


@pytest.fixture
def people(serving: tuple[Program, People]) -> People:
    return serving[1]


@pytest.fixture
def discord(people: People) -> DiscordServer:
    return people.discord


async def whole(made: Interaction, discord: DiscordServer) -> Message:
    """The answer, once it is all there."""
    return await discord.wait(
        lambda: next((m for m in made.brought if AI in m.content and m.buttons), None)
    )


async def told(made: Interaction, discord: DiscordServer) -> Message:
    """Words in reply."""
    return await discord.wait(lambda: next((m for m in made.brought if m.content), None))


async def test_a_picture_comes_as_a_file_with_its_seed_and_its_buttons(
    people: People, discord: DiscordServer
) -> None:
    answer = await whole(await people.slash("jewel", text="a gold ring", seed=7, count=2), discord)
    assert [data[:4] for _, data in answer.files] == [PNG, PNG]
    assert "seed-7" in answer.files[0][0] and "seed 7, 8" in answer.content
    assert {"Again", "Vary", "Original file"} <= set(answer.buttons)
    original = await people.press(answer, "Original file", by=BOB)
    files = await discord.wait(lambda: original.brought and original.brought[0].files)
    assert [data for _, data in files] == [data for _, data in answer.files]
    varied = await whole(await people.press(answer, "Vary"), discord)
    assert [data for _, data in varied.files] != [data for _, data in answer.files]


async def test_a_picture_too_large_for_a_place_is_made_smaller(
    people: People, discord: DiscordServer
) -> None:
    first = await whole(await people.slash("jewel", text="a gold ring", seed=7), discord)
    size = len(first.files[0][1])
    usual, discord.upload_limit = discord.upload_limit, size - 1
    try:
        answer = await whole(await people.slash("jewel", text="a gold ring", seed=7), discord)
    finally:
        discord.upload_limit = usual
    ((name, data),) = answer.files
    assert name.endswith(".jpg") and len(data) < size and "smaller" in answer.content


async def test_where_files_are_forbidden_the_asker_learns_who_can_allow_them(
    people: People, discord: DiscordServer
) -> None:
    discord.fileless.add(CHANNEL)
    made = await people.slash("jewel", text="a gold ring")
    said = await discord.wait(
        lambda: next((m for m in made.brought if "Attach" in m.content), None)
    )
    discord.fileless.clear()
    assert not said.files and "manages this channel" in said.content and "Again" in said.buttons


async def test_a_channels_own_style_is_set_by_those_who_manage_it(
    people: People, discord: DiscordServer
) -> None:
    refused = await told(await people.slash("settings", text="style agatha", at=ELSEWHERE), discord)
    assert refused.flags & EPHEMERAL
    plain = await whole(await people.slash("story", text="It rained.", at=ELSEWHERE), discord)
    assert "Lovecraft" in plain.content
    await told(await people.slash("settings", text="style agatha", at=ELSEWHERE, by=OWNER), discord)
    styled = await whole(await people.slash("story", text="It rained.", at=ELSEWHERE), discord)
    assert "Agatha" in styled.content
    other = await whole(await people.slash("story", text="It rained.", at=CHANNEL), discord)
    assert "Lovecraft" in other.content


async def test_private_and_public_contexts_never_mix(
    people: People, discord: DiscordServer
) -> None:
    await people.tell("A secret of the vicar.", by=CAROL)
    private = discord.private(CAROL)
    await discord.wait(lambda: [m for m in discord.in_channel(private) if AI in m.content])
    said = await told(await people.slash("continue", by=CAROL, at=THREAD), discord)
    assert "secret" not in said.content and AI not in said.content


async def test_forgetting_takes_two_steps_and_the_second_is_the_askers(
    people: People, discord: DiscordServer
) -> None:
    answer = await whole(await people.slash("story", text="It rained.", by=CAROL), discord)
    asked = await told(await people.slash("forget", by=CAROL), discord)
    assert asked.flags & EPHEMERAL and len(asked.buttons) == 2
    yes = next(label for label in asked.buttons if label.startswith("Yes"))
    await told(await people.press(asked, yes, by=BOB), discord)
    why = await told(await people.press(answer, "Why?", by=CAROL), discord)
    assert "answered" in why.content
    await told(await people.press(asked, yes, by=CAROL), discord)
    gone = await told(await people.press(answer, "Why?", by=CAROL), discord)
    assert "answered" not in gone.content


async def test_installed_for_a_user_it_works_where_the_bot_is_not(
    people: People, discord: DiscordServer
) -> None:
    made = Interaction(discord.new_id(), f"user{discord.new_id()}", 2, CHANNEL, ALICE)
    discord.interactions[made.token] = made
    option = {"name": "text", "type": 3, "value": "The lamp went out."}
    data = {"id": "1", "name": "story", "type": 1, "options": [option]}
    wire = people.payload(made, data, user_installed=True)
    elsewhere = str(int(CHANNEL) + 1000)
    wire |= {"guild_id": elsewhere, "guild": {"id": elsewhere, "locale": "en-US"}}
    wire |= {"channel_id": elsewhere, "context": 2}
    wire["channel"] = wire["channel"] | {"id": elsewhere, "guild_id": elsewhere}
    await discord.gateway.dispatch("INTERACTION_CREATE", wire)
    answer = await whole(made, discord)
    assert answer.content.startswith("The lamp went out.")


async def test_between_two_people_an_answer_stays_its_askers(
    people: People, discord: DiscordServer
) -> None:
    between = discord.private(CAROL)  # to the bot's library, Alice's and Carol's looks like this

    async def press(message: Message, label: str, by: str) -> Message:
        made = Interaction(discord.new_id(), f"two{discord.new_id()}", 3, between, by)
        made.source = message
        discord.interactions[made.token] = made
        data = {"custom_id": message.buttons[label], "component_type": 2}
        wire = people.payload(made, data, user_installed=True) | {"context": 2}
        await discord.gateway.dispatch("INTERACTION_CREATE", wire)
        return await told(made, discord)

    answer = await whole(await people.slash("story", text="It rained.", at=between), discord)
    why = await press(answer, "Why?", ALICE)
    assert "answered" in why.content and why.flags & EPHEMERAL
    refused = await press(answer, "Delete", CAROL)
    assert "Only the person who asked" in refused.content


async def test_what_discord_writes_in_a_persons_name_is_not_answered(
    people: People, discord: DiscordServer
) -> None:
    somebody = str(4 * 10**18)
    for kind in (1, 2, 4, 6, 7, 8, 18, 21, 46):
        await people.tell("A tale of the sea", by=somebody, type=kind)
    asked = await people.tell("/queue", by=somebody)

    def replies() -> list[str | None]:
        there = discord.in_channel(discord.private(somebody))
        return [m.reply_to for m in there if m.author == APP]

    await discord.wait(replies)
    assert set(replies()) == {asked.id}


async def test_a_forward_and_a_pasted_file_are_read_and_a_picture_gets_a_sentence(
    people: People, discord: DiscordServer
) -> None:
    shot = {"message": {"content": "The vicar coughed.", "type": 0, "timestamp": STAMP}}
    shot["message"] |= {"attachments": [], "embeds": [], "flags": 0, "edited_timestamp": None}
    about = {"type": 1, "message_id": "1", "channel_id": CHANNEL}
    asked = (
        await people.tell("", message_snapshots=[shot], message_reference=about),
        await people.tell("", files=(("message.txt", b"The doctor laughed."),)),
        await people.tell("", files=(("a.png", PNG),)),
    )
    private = discord.private(ALICE)
    for message, words in zip(asked, ("vicar coughed", "doctor laughed", "only read"), strict=True):
        await discord.wait(
            lambda m=message, w=words: [
                r for r in discord.in_channel(private) if r.reply_to == m.id and w in r.content
            ]
        )


async def test_operators_command_privately_and_nobody_else_does(
    people: People, discord: DiscordServer
) -> None:
    await people.tell("/admin status", by=BOB)
    private = discord.private(BOB)
    said = await discord.wait(lambda: [m for m in discord.in_channel(private) if m.author == APP])
    await people.tell("/admin status", by=OPERATOR)
    private = discord.private(OPERATOR)
    told = await discord.wait(lambda: [m for m in discord.in_channel(private) if m.author == APP])
    assert told[-1].content != said[-1].content
    assert "admin" not in [c["name"] for c in discord.commands]


async def test_an_answer_that_enough_report_goes_however_they_say_it(
    serving: tuple[Program, People], discord: DiscordServer
) -> None:
    program, people = serving
    asker, reader, another = (str(5 * 10**18 + n) for n in range(3))
    answers = [
        await whole(await people.slash("story", text="A vile tale.", by=by), discord)
        for by in (another, reader, asker, asker)
    ]
    with closing(sqlite3.connect(program.home / "ledger.sqlite3")) as ledger, ledger:
        ledger.execute("update askers set created_at = created_at - 90000")
    for answer in answers[2:]:
        await told(await people.press(answer, "Report", by=reader), discord)
    assert not answers[2].deleted
    await people.say("@bot /report it is vile", by=another, reply_to=answers[2])
    await people.slash("report", by=asker)  # the last of one's own
    await discord.wait(lambda: answers[2].deleted and answers[3].deleted)
    assert not answers[0].deleted and not answers[1].deleted


async def test_who_takes_no_direct_messages_is_told_so_where_they_asked(
    people: People, discord: DiscordServer
) -> None:
    discord.closed.add(discord.private(BOB))
    asked = await people.say("@bot /privacy", by=BOB, at=ELSEWHERE)
    said = await discord.wait(
        lambda: [m for m in discord.in_channel(ELSEWHERE) if m.reply_to == asked.id]
    )
    discord.closed.clear()
    assert "direct messages" in said[0].content and "72 hours" not in said[0].content


async def test_a_thread_is_talked_on_where_operator_and_manager_say_so(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("talking")
    async with DiscordServer() as discord:
        discord.gateway.privileged = True
        program = Program(discord, folder, MESSAGE_CONTENT="true")
        await program.start()
        people = People(discord)
        before = await people.say("Nobody asked.", at=THREAD)
        on = await people.slash("settings", text="talk on", at=THREAD, by=OWNER)
        assert "every message" in (await told(on, discord)).content
        seen = await people.say("", at=THREAD, files=(("a.png", PNG),))
        asked = await people.say("It rained on the moor.", at=THREAD)

        def replies(message: Message) -> list[Message]:
            return [m for m in discord.in_channel(THREAD) if m.reply_to == message.id]

        await discord.wait(lambda: [m for m in replies(asked) if AI in m.content])
        assert replies(before) == replies(seen) == [] and discord.violations == []
        assert await program.stop() == 0

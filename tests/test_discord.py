"""`pastiche serve --discord` over the wire: what people do, and what they see."""

import contextlib
import random
import re
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from discord_people import People
from discord_program import Program, served
from discord_server import DiscordServer
from discord_world import (
    ALICE,
    BOB,
    CHANNEL,
    ELSEWHERE,
    EPHEMERAL,
    OWNER,
    THREAD,
    TOKEN,
    UNANSWERED,
    Interaction,
    Message,
)

from bot.messages.buttons import PATTERN

pytestmark = pytest.mark.asyncio(loop_scope="module")

AI = "AI-generated"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Program, People]]:
    async with served(tmp_path_factory.mktemp("discord")) as both:
        yield both


@pytest.fixture
def people(serving: tuple[Program, People]) -> People:
    people = serving[1]
    people.locale = "en-US"
    return people


@pytest.fixture
def discord(people: People) -> DiscordServer:
    return people.discord


async def answered(interaction: Interaction, discord: DiscordServer, mark: str = AI) -> Message:
    """Its answer's last message, once that is whole."""
    return await discord.wait(
        lambda: next((m for m in interaction.brought if mark in m.content and m.buttons), None)
    )


async def replied(message: Message, discord: DiscordServer) -> Message:
    """The whole answer to an ordinary message."""
    return await discord.wait(
        lambda: next(
            (m for m in discord.in_channel(message.channel) if m.reply_to == message.id and m.buttons
             and AI in m.content), None,
        )
    )  # fmt: skip


async def told(interaction: Interaction, discord: DiscordServer) -> Message:
    """Words in reply to a command or a press."""
    return await discord.wait(lambda: next((m for m in interaction.brought if m.content), None))


async def test_the_first_log_lines_are_what_an_operator_looks_for(
    serving: tuple[Program, People],
) -> None:
    program, _ = serving
    said = " ".join(line["message"] for line in program.lines("bot.discord_client"))
    assert (
        "Pastiche" in said and "oauth2/authorize?client_id=" in said and "commands synced" in said
    )


async def test_a_command_is_acknowledged_at_once_and_its_answer_grows(
    people: People, discord: DiscordServer
) -> None:
    text = "in the style of agatha: " + " ".join(f"word{n}" for n in range(5)) + " ::slow:: a b c"
    asked = time.monotonic()
    made = await people.slash("story", text=text)
    answer = await answered(made, discord)
    assert made.ack_seconds is not None
    assert made.callback == 5 and not answer.flags & EPHEMERAL
    assert answer.content.startswith("word0 word1") and "Agatha Christie" in answer.content
    assert len(answer.versions) >= 3, answer.versions
    # None comes sooner than its turn; between two that arrive a busy machine leaves any time.
    late = [at - asked - 1.0 * turn for turn, (at, _) in enumerate(answer.versions)]
    assert min(late) > 0, late


async def test_typed_options_mean_what_the_text_form_means(
    people: People, discord: DiscordServer
) -> None:
    made = await people.slash("story", text="It rained.", style="lovecraft", length=16, seed=3)
    by_options = await answered(made, discord)
    by_text = await replied(
        await people.say("@bot /story --style lovecraft --length 16 --seed 3 It rained."), discord
    )
    assert "you chose the style" in by_options.content and "you chose the style" in by_text.content
    first, second = (m.content.splitlines()[0] for m in (by_options, by_text))
    assert first == second == "It rained."


async def test_styles_come_up_while_one_is_typed(people: People) -> None:
    assert "lovecraft" in [c["value"] for c in await people.type_ahead("story", "style", "lo")]


async def test_a_mention_is_answered_as_a_reply_where_it_was_said(
    people: People, discord: DiscordServer
) -> None:
    asked = await people.say("@bot in the style of lovecraft: It rained.", at=THREAD)
    answer = await replied(asked, discord)
    assert answer.channel == THREAD and "Lovecraft" in answer.content


async def test_a_private_message_needs_no_mention(people: People, discord: DiscordServer) -> None:
    answer = await replied(await people.tell("The vicar coughed."), discord)
    assert answer.channel == discord.private(ALICE)


async def test_what_is_not_said_to_it_is_not_answered(
    people: People, discord: DiscordServer
) -> None:
    quiet = await people.say("It rained all day.", at=ELSEWHERE)
    await replied(await people.say("@bot It rained.", at=ELSEWHERE), discord)
    assert not [m for m in discord.in_channel(ELSEWHERE) if m.reply_to == quiet.id]


async def test_a_long_answer_comes_in_parts_and_a_longer_one_as_a_file(
    people: People, discord: DiscordServer
) -> None:
    text = " ".join(f"word{n:03}{'z' * 20}" for n in range(180))
    made = await people.slash("story", text=text, length=1200)
    last = await answered(made, discord)
    parts = made.said
    assert len(parts) > 1 and all(len(m.content) <= 2000 for m in parts)
    assert parts[-1].id == last.id and not parts[0].buttons
    assert re.findall(r"word\d{3}z+", " ".join(m.content for m in parts)) == text.split()
    longer = await answered(await people.slash("continue", text=text, length=1200), discord)
    ((name, data),) = longer.files
    assert name.endswith(".txt") and len(data) > 8000


async def test_buttons_continue_repeat_and_explain(people: People, discord: DiscordServer) -> None:
    answer = await answered(await people.slash("story", text="The moor was dark."), discord)
    for label in ("Continue", "Again"):
        pressed = await people.press(answer, label)
        other = await answered(pressed, discord)
        assert other.id != answer.id and other.buttons["Again"] != answer.buttons["Again"]
        assert pressed.ack_seconds is not None
    why = await told(await people.press(answer, "Why?"), discord)
    assert why.flags & EPHEMERAL and "default" in why.content
    assert answer.content.startswith("The moor was dark.") and answer.buttons


async def test_another_style_is_asked_for_and_then_used(
    people: People, discord: DiscordServer
) -> None:
    answer = await answered(await people.slash("story", text="It rained.", style="agatha"), discord)
    asked = await told(await people.press(answer, "Another style"), discord)
    assert asked.flags & EPHEMERAL
    other = next(label for label in asked.buttons if "Lovecraft" in label)
    written = await answered(await people.press(asked, other), discord)
    assert "Lovecraft" in written.content


async def test_only_the_asker_may_press_what_changes_their_answer(
    people: People, discord: DiscordServer
) -> None:
    answer = await answered(await people.slash("story", text="It rained."), discord)
    for label in ("Continue", "Again", "Delete"):
        refused = await told(await people.press(answer, label, by=BOB), discord)
        assert refused.flags & EPHEMERAL and AI not in refused.content
    why = await told(await people.press(answer, "Why?", by=BOB), discord)
    assert "answered" in why.content
    assert not answer.deleted


async def test_the_asker_or_a_manager_deletes_an_answer(
    people: People, discord: DiscordServer
) -> None:
    for by in (ALICE, OWNER):
        answer = await answered(await people.slash("story", text="It rained."), discord)
        await people.press(answer, "Delete", by=by)
        await discord.wait(lambda gone=answer: gone.deleted)


async def test_a_thumb_pressed_twice_is_harmless(people: People, discord: DiscordServer) -> None:
    answer = await answered(await people.slash("story", text="It rained."), discord)
    for label in ("👍", "👍", "👎"):
        assert (await told(await people.press(answer, label, by=BOB), discord)).flags & EPHEMERAL


async def test_an_answer_under_way_is_stopped_by_its_asker(
    people: People, discord: DiscordServer
) -> None:
    made = await people.slash("story", text="One two ::slow:: three four five six seven")
    await discord.wait(lambda: made.response and "two" in made.response.content)
    assert made.response is not None
    await people.press(made.response, "Cancel", by=BOB)
    await people.press(made.response, "Cancel")
    await discord.wait(lambda: "Stopped" in made.response.content)
    assert "One two" in made.response.content and "seven" not in made.response.content


async def test_a_request_of_its_own_is_seen_by_its_asker_only(
    people: People, discord: DiscordServer
) -> None:
    answer = await answered(await people.slash("story", text="It rained.", private=True), discord)
    assert answer.flags & EPHEMERAL


async def test_a_mistake_is_told_to_its_maker_only(people: People, discord: DiscordServer) -> None:
    made = await people.slash("story", text="in the style of hemmingwai: It rained.")
    said = await told(made, discord)
    assert said.flags & EPHEMERAL and "hemmingwai" in said.content


async def test_a_failed_answer_says_so_kindly_and_offers_another_try(
    people: People, discord: DiscordServer
) -> None:
    made = await people.slash("story", text="It ::fail:: rained.")
    said = await discord.wait(lambda: next((m for m in made.said if "Again" in m.buttons), None))
    assert "wrong on our side" in said.content


async def test_a_reply_to_an_answer_continues_it(people: People, discord: DiscordServer) -> None:
    answer = await replied(await people.say("@bot The vicar coughed."), discord)
    await replied(await people.say("@bot Something else."), discord)
    on = await replied(await people.say("And coughed again.", reply_to=answer), discord)
    assert on.content.startswith("The vicar coughed. ") and "And coughed again." in on.content


async def test_a_reply_without_a_ping_is_said_to_the_others(
    people: People, discord: DiscordServer
) -> None:
    answer = await replied(await people.say("@bot The vicar coughed."), discord)
    quiet = await people.say("How dull.", reply_to=answer, ping=False)
    for _turn in range(3):  # one after the other, so an answer to it would be among them
        await replied(await people.say("@bot Something else."), discord)
    assert not [m for m in discord.in_channel(quiet.channel) if m.reply_to == quiet.id]


async def test_everything_is_there_in_italian(people: People, discord: DiscordServer) -> None:
    people.locale = "it"
    made = await people.slash("story", text="It rained.")
    answer = await answered(made, discord, "Generato dall'IA")
    assert "Continua" in answer.buttons
    assert people.command("story")["name_localizations"]["it"] == "storia"


async def test_lists_and_help_are_the_askers_own(people: People, discord: DiscordServer) -> None:
    for command, words in (
        ("styles", "Agatha"),
        ("help", "/story"),
        ("queue", ""),
        ("privacy", ""),
    ):
        said = await told(await people.slash(command), discord)
        assert said.flags & EPHEMERAL and words in said.content


async def test_an_event_that_comes_twice_is_answered_once(
    people: People, discord: DiscordServer
) -> None:
    made = await people.slash("story", text="Only once.")
    data = {"id": "1", "name": "story", "type": 1, "options": [
        {"name": "text", "type": 3, "value": "Only once."}]}  # fmt: skip
    for _ in range(3):
        await discord.gateway.dispatch("INTERACTION_CREATE", people.payload(made, data))
    await answered(made, discord)
    await answered(await people.slash("story", text="Another."), discord)
    callbacks = [c for c in discord.calls if f"/{made.token}/callback" in c.path]
    assert len(callbacks) == 1 and len(made.said) == 1


async def test_an_interaction_too_old_to_answer_harms_nobody(
    people: People, discord: DiscordServer
) -> None:
    long_ago = time.monotonic() - 2 * UNANSWERED
    made = Interaction(discord.new_id(), "gone", 2, CHANNEL, ALICE, born=long_ago)
    discord.interactions["gone"] = made
    data = {"id": "1", "name": "help", "type": 1, "options": []}
    await discord.gateway.dispatch("INTERACTION_CREATE", people.payload(made, data))
    await told(await people.slash("help"), discord)
    assert made.callback is None


async def test_a_button_of_nobodys_is_told_so(people: People, discord: DiscordServer) -> None:
    answer = await answered(await people.slash("story", text="It rained."), discord)
    said = await told(await people.press(answer, "old:button"), discord)
    assert said.flags & EPHEMERAL and "/help" in said.content


def mutated(value: object, chance: random.Random) -> object:
    """The same with something wrong in it."""
    odd: list[object] = [None, "", "x" * 300, -1, 2**70, [], {}, True, "\u202e\x00", 1.5]
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(list(value))
        rest = {k: v for k, v in value.items() if k != key}
        return rest if chance.random() < 0.2 else rest | {key: mutated(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.5:
        return [mutated(value[0], chance), *value[1:]]
    return chance.choice(odd)


async def recovered(people: People, discord: DiscordServer) -> bool:
    """Whether it answers at once again, twice, when it is through with what came before."""
    quick = 0
    for _ in range(60):
        made = await people.slash("help")
        with contextlib.suppress(TimeoutError):
            await discord.wait(lambda asked=made: asked.callback, 3)
        quick = quick + 1 if (made.ack_seconds or 9) < 1 else 0
        if quick == 2:
            return True
    return False


@pytest.mark.slow
async def test_ten_thousand_malformed_events_harm_nobody(
    people: People, discord: DiscordServer, serving: tuple[Program, People]
) -> None:
    chance = random.Random(5)
    answer = await answered(await people.slash("story", text="It rained."), discord)
    slash = {"id": "1", "name": "help", "type": 1, "options": []}
    press = {"custom_id": answer.buttons["Why?"], "component_type": 2}
    for n in range(10_000):
        kind, data, source = ((2, slash, None), (3, press, answer))[n % 2]
        made = Interaction(discord.new_id(), f"m{n}", kind, CHANNEL, ALICE, source=source)
        event, name = people.payload(made, data), "INTERACTION_CREATE"
        if n % 5 == 4:
            event, name = discord.message(answer) | {"author": {"id": BOB}}, "MESSAGE_CREATE"
        if n % 10 < 2:
            discord.interactions[made.token] = made
        await discord.gateway.dispatch(name, mutated(event, chance))
    assert await recovered(people, discord)
    assert len(discord.gateway.identified) == 1, "the connection did not hold"
    assert "never retrieved" not in serving[0].logged


async def test_a_pair_is_shown_together_voted_on_and_revealed_in_place(
    people: People, discord: DiscordServer
) -> None:
    asked = await people.slash("compare", text="They _sat_ ::slow:: alone")
    pair = await discord.wait(
        lambda: next((m for m in asked.brought if "Which is better?" in m.content), None)
    )
    before = [text for _, text in pair.versions if text != pair.content]
    assert any("Two answers are being written" in text for text in before)
    assert not any("alone" in text for text in before), "nothing of them shows before"
    assert "They \\_sat\\_ ::slow:: alone" in pair.content
    assert list(pair.buttons) == ["A", "B", "Equally good", "Both bad"]
    theirs = await told(await people.press(pair, "A", by=BOB), discord)
    assert "somebody else's" in theirs.content and theirs.flags & EPHEMERAL
    await people.press(pair, "B")
    await discord.wait(lambda: "You chose: B" in pair.content)
    await people.press(pair, "Show me who wrote which")
    await discord.wait(lambda: "the base model alone" in pair.content)
    assert not pair.buttons and AI in pair.content


async def test_a_pair_of_pictures_is_one_file(people: People, discord: DiscordServer) -> None:
    asked = await people.slash("compare", text="/jewel a ring", style="jewel")
    pair = await discord.wait(
        lambda: next((m for m in asked.brought if "left picture" in m.content), None)
    )
    assert len(pair.files) == 1
    await people.press(pair, "A")
    await discord.wait(lambda: "You chose: A" in pair.content)
    assert len(pair.files) == 1, "the picture stays"


async def test_a_passage_is_guessed_and_told_in_place(
    people: People, discord: DiscordServer
) -> None:
    passage = await told(await people.slash("guess"), discord)
    assert "by a person, or by a machine?" in passage.content
    await people.press(passage, "By a person")
    await discord.wait(lambda: "How sure are you" in passage.content)
    await people.press(passage, "6")
    await discord.wait(lambda: "of 1 times" in passage.content)
    assert "Another one" in passage.buttons


async def test_no_token_and_no_story_reaches_a_log(
    serving: tuple[Program, People], people: People, discord: DiscordServer
) -> None:
    program, _ = serving
    await answered(await people.slash("story", text="A lampshade of celadon."), discord)
    logged = program.logged + program.said
    assert TOKEN not in logged and "celadon" not in logged
    assert not [token for token in discord.interactions if len(token) > 20 and token in logged]


async def test_nothing_that_was_sent_could_mention_anybody(
    people: People, discord: DiscordServer
) -> None:
    await answered(await people.slash("story", text="It rained."), discord)
    messages = [c for c in discord.calls if "content" in c.payload]
    assert messages
    assert all(c.payload["allowed_mentions"]["parse"] == [] for c in messages)


async def test_every_button_fits_both_platforms(people: People, discord: DiscordServer) -> None:
    await answered(await people.slash("story", text="It rained."), discord)
    names = [name for m in discord.messages.values() for name in m.buttons.values()]
    assert names and all(PATTERN.fullmatch(name) and len(name.encode()) <= 64 for name in names)

"""`pastiche serve --discord` when things go wrong: limits, faults, restarts, tokens that end."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from discord_people import People
from discord_program import Program, served
from discord_server import DiscordServer
from discord_world import BOB, CHANNEL, ELSEWHERE, TOKEN, Interaction, Message

pytestmark = pytest.mark.asyncio(loop_scope="module")

AI = "AI-generated"
SLOW = "One two ::slow:: three four five"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def serving(
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[tuple[Program, People]]:
    async with served(tmp_path_factory.mktemp("discord")) as both:
        yield both


@pytest.fixture
def program(serving: tuple[Program, People]) -> Program:
    return serving[0]


@pytest.fixture
def people(serving: tuple[Program, People]) -> People:
    return serving[1]


@pytest.fixture
def discord(people: People) -> DiscordServer:
    return people.discord


async def whole(made: Interaction, discord: DiscordServer, seconds: float = 200) -> Message:
    """The answer to a command or a press, once its last word stands there."""
    return await discord.wait(
        lambda: next((m for m in made.brought if AI in m.content and m.buttons), None), seconds
    )


async def begun(made: Interaction, discord: DiscordServer, word: str = "two") -> None:
    """Until the answer has grown to that word."""
    await discord.wait(lambda: any(word in m.content for m in made.brought))


@pytest.mark.parametrize("status", [500, None])
async def test_an_edit_that_failed_on_the_way_ends_in_the_whole_answer(
    people: People, discord: DiscordServer, status: int | None
) -> None:
    made = await people.slash("story", text=SLOW)
    await begun(made, discord)
    discord.fail("PATCH", f"{made.token}/messages", status=status, times=2, effective=True)
    assert (await whole(made, discord)).content.startswith("One two ::slow:: three four five")


async def test_a_rate_limit_is_obeyed_to_the_second(people: People, discord: DiscordServer) -> None:
    made = await people.slash("story", text=SLOW)
    await begun(made, discord)
    fault = discord.fail("PATCH", f"{made.token}/messages", status=429, retry_after=3)
    answer = await whole(made, discord)
    (limited,) = [c.at for c in discord.calls if c.status == 429 and made.token in c.path]
    assert not fault.times and answer.versions[-1][0] - limited >= 3
    assert discord.violations == []


async def test_a_deleted_answer_is_let_go(
    people: People, discord: DiscordServer, program: Program
) -> None:
    made = await people.slash("story", text=SLOW)
    await begun(made, discord)
    made.brought[0].deleted = True
    await discord.wait(
        lambda: any("nowhere to go" in line["message"] for line in program.lines("bot."))
    )
    await whole(await people.slash("story", text="It rained."), discord)


async def test_a_channel_closed_to_the_bot_is_told_privately(
    people: People, discord: DiscordServer
) -> None:
    discord.closed.add(ELSEWHERE)
    await people.say("@bot It rained.", at=ELSEWHERE, by=BOB)
    private = discord.private(BOB)
    told = await discord.wait(lambda: discord.in_channel(private)[1:])
    assert "Send Messages" in discord.in_channel(private)[0].content
    assert told[0].content
    discord.closed.clear()


async def test_a_channel_deleted_under_an_answer_harms_nobody(
    people: People, discord: DiscordServer
) -> None:
    await people.say(f"@bot {SLOW}", at=ELSEWHERE)
    await discord.wait(lambda: [m for m in discord.in_channel(ELSEWHERE) if "two" in m.content][1:])
    discord.gone.add(ELSEWHERE)
    await whole(await people.slash("story", text="It rained."), discord)
    discord.gone.clear()


async def test_a_broken_connection_is_resumed_and_misses_nothing(
    people: People, discord: DiscordServer
) -> None:
    gateway = discord.gateway
    for code in (4000, 4009):
        before = len(gateway.resumed)
        await gateway.close(code)
        asked = await people.say(f"@bot Said in the dark {code}.")  # nobody listens now
        await discord.wait(lambda n=before: len(gateway.resumed) > n)
        await discord.wait(
            lambda said=asked: [
                m for m in discord.in_channel(CHANNEL) if m.reply_to == said.id and AI in m.content
            ]
        )


async def test_a_session_that_became_invalid_is_begun_anew(
    people: People, discord: DiscordServer
) -> None:
    gateway = discord.gateway
    known = len(gateway.identified)
    await gateway.invalidate()
    await discord.wait(lambda: len(gateway.identified) > known and gateway.connected)
    await gateway.ask_to_reconnect()
    resumed = len(gateway.resumed)
    await discord.wait(
        lambda: len(gateway.resumed) > resumed or len(gateway.identified) > known + 1
    )
    await discord.wait(lambda: gateway.connected)
    assert (await whole(await people.slash("story", text="Heard again."), discord)).content


@pytest.mark.parametrize("status", [413, 400])
async def test_a_refusal_of_a_draft_does_not_cost_the_answer(
    people: People, discord: DiscordServer, status: int
) -> None:
    made = await people.slash("story", text=SLOW)
    await begun(made, discord)
    fault = discord.fail("PATCH", f"{made.token}/messages", status=status)
    answer = await whole(made, discord)
    assert not fault.times and answer.content.startswith(SLOW) and not answer.files


async def test_buttons_survive_a_restart_and_what_was_owed_arrives_once(
    people: People, discord: DiscordServer, program: Program
) -> None:
    before = await whole(await people.slash("story", text="The moor was dark."), discord)
    owed = [await people.slash("story", text=SLOW), await people.slash("story", text=SLOW, by=BOB)]
    mentioned = await people.say(f"@bot {SLOW}", by=BOB)
    for made in owed:
        await begun(made, discord)
    await program.stop(signal.SIGKILL)
    await program.start()
    for made in owed:
        assert (await whole(made, discord)).content.startswith(SLOW)
        assert len(made.brought) == 1
    await discord.wait(lambda: [m for m in discord.in_channel(CHANNEL)
                                if m.reply_to == mentioned.id and AI in m.content])  # fmt: skip
    replies = [m for m in discord.in_channel(CHANNEL) if m.reply_to == mentioned.id]
    assert len(replies) == 1
    again = await whole(await people.press(before, "Again"), discord)
    assert again.content.startswith("The moor was dark.")


async def test_killed_between_two_parts_it_sends_the_rest_and_no_part_twice(
    people: People, discord: DiscordServer, program: Program
) -> None:
    text = " ".join(f"word{n:03}{'z' * 20}" for n in range(180))
    fault = discord.fail("POST", "/webhooks/", times=10_000, after=1)
    made = await people.slash("story", text=text, length=1200)
    await discord.wait(lambda: fault.times < 10_000)
    await program.stop(signal.SIGKILL)
    fault.times = 0
    await program.start()
    await whole(made, discord)
    words = re.findall(r"word\d{3}z+", " ".join(m.content for m in made.said))
    assert words == text.split() and len(made.said) == 3


async def test_a_stop_says_so_where_an_answer_is_under_way_and_keeps_it(
    people: People, discord: DiscordServer, program: Program
) -> None:
    long = "One two ::slow:: " + " ".join(f"w{n}" for n in range(40))
    made = await people.slash("story", text=long)
    await begun(made, discord)
    assert await program.stop(signal.SIGTERM, 90) == 0
    assert any("restarted" in m.content for m in made.brought)
    await program.start()
    await discord.wait(lambda: any("One two" in m.content for m in made.brought), 60)
    pressed = await people.press(made.brought[0], "Cancel")
    await discord.wait(lambda: any("Stopped" in m.content for m in made.brought))
    assert pressed.callback == 6


async def test_an_interactions_token_that_ended_costs_no_answer(
    people: People, discord: DiscordServer
) -> None:
    made = await people.slash("story", text=SLOW)
    await begun(made, discord)
    made.born -= discord.token_life
    await discord.wait(
        lambda: [m for m in discord.in_channel(CHANNEL)
                 if m not in made.brought and m.content.startswith(SLOW)
                 and AI in m.content and float(m.versions[-1][0]) > made.born + 900]
    )  # fmt: skip


async def test_a_wrong_token_is_one_clear_line_and_exit_code_one(tmp_path: Path) -> None:
    async with DiscordServer() as server:
        wrong = TOKEN[:-4] + "wxyz"
        program = Program(server, tmp_path, DISCORD_TOKEN=wrong)
        starting = asyncio.create_task(program.start())
        with pytest.raises(AssertionError, match="it ended"):
            await starting
        assert await program.ended() == 1
        told = [line for line in program.said.splitlines() if "token" in line.lower()]
        assert len(told) == 1 and "Reset Token" in told[0]
        assert wrong not in program.said + program.logged
        assert "Traceback" not in program.said


async def test_a_pause_asked_for_at_login_is_kept(tmp_path: Path) -> None:
    async with DiscordServer() as server:
        server.fail("GET", "/users/@me$", status=429, retry_after=3, code=1)
        program = Program(server, tmp_path)
        await program.start()
        first, second = [c.at for c in server.calls if c.path.endswith("/users/@me")][:2]
        assert second - first >= 3
        await program.stop()


async def test_a_privileged_intent_that_is_off_is_explained(tmp_path: Path) -> None:
    async with DiscordServer() as server:
        program = Program(server, tmp_path, MESSAGE_CONTENT="true")
        with pytest.raises((AssertionError, TimeoutError)):
            await program.start()
        assert await program.ended() == 1
        assert re.search(r"Message Content Intent", program.said)


async def test_nothing_went_unhandled_and_no_token_was_logged(
    program: Program, people: People, discord: DiscordServer
) -> None:
    await whole(await people.slash("story", text="It rained."), discord)
    assert "never retrieved" not in program.logged
    tokens = [token for token in people.discord.interactions if len(token) > 20]
    assert tokens and not [token for token in tokens if token in program.logged + program.said]
    failed = [x for x in program.lines("bot.discord") if x["level"] == "ERROR"]
    assert failed == []

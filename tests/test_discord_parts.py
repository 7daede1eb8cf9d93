"""Discord's pieces by themselves: layout, commands, posts that move, calls that insist."""

import asyncio
import io
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import discord
import pytest
from discord_limits import check_commands
from discord_server import DiscordServer
from discord_world import (
    ALICE,
    APP,
    CHANNEL,
    EPHEMERAL,
    LOADING,
    THREAD,
    TOKEN,
    Interaction,
    Message,
)
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from bot.clients.pacing import Vanished
from bot.discord_client import rendering
from bot.discord_client.commands import Words, build, matching
from bot.discord_client.errors import PASSING, insist
from bot.discord_client.gateway import Connection, point
from bot.discord_client.identity import TOKEN_SECONDS, Address
from bot.discord_client.messages import AnswerMessages
from bot.discord_client.rendering import Part, PressButton, files_of, smaller, view_of
from bot.messages.buttons import Press, Verb, button, encode
from bot.messages.draft import Draft
from engine.events import Cancelled, Picture
from engine.ledger.ledger import new_id
from engine.plan.cards import Registry

JOB = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


# layout


@given(st.text(st.sampled_from("ab *_`\n.-#>1@é🕯️"), max_size=9000), st.text(max_size=200))
def test_no_page_is_longer_than_discord_takes(text: str, footer: str) -> None:
    pages = rendering.written(text, [footer])
    assert all(len(page.text) <= 2000 for page in pages)
    assert len(pages) <= 4


def test_a_long_answer_keeps_its_footer_and_buttons_for_the_end() -> None:
    rows = ((button(Verb.AGAIN, JOB),),)
    pages = rendering.written("It rained on the moor. " * 200, ["AI-generated"], rows)
    assert len(pages) > 1
    assert [bool(page.rows) for page in pages] == [False] * (len(pages) - 1) + [True]
    assert ["AI-generated" in page.text for page in pages].count(True) == 1


def test_a_very_long_answer_is_a_file_below_its_first_lines() -> None:
    text = "It rained on the moor. " * 600
    (page,) = rendering.written(text, ["AI-generated"])
    assert page.text.startswith("It rained") and "AI-generated" in page.text
    ((name, data),) = page.files
    assert name.endswith(".txt") and data.decode().split() == text.split()


def test_a_growing_answer_shows_its_end(registry: Registry) -> None:
    text = "first " + "word " * 1000 + "last"
    page = rendering.growing(Draft(stage="writing", job=JOB, text=text), registry)
    assert len(page.text) <= 2000 and "last" in page.text and "first" not in page.text
    assert page.rows[0][0].press == Press(Verb.CANCEL, JOB)


def test_a_stopped_answer_says_that_a_machine_made_it(registry) -> None:
    stopped = Cancelled(job=JOB, attempt=1, text="It rained.")
    (page,) = rendering.last_parts(Draft(job=JOB, text="It rained.", final=stopped), "", registry)
    assert "AI-generated" in page.text


def test_what_a_model_writes_mentions_links_and_formats_nothing() -> None:
    (page,) = rendering.written("@everyone <@123> **bold** https://evil.com discord.gg/x", [])
    for harm in ("@everyone", "<@123>", "**bold**", "https://", "discord.gg"):
        assert harm not in page.text


# commands


@pytest.fixture
async def tree(registry: Registry) -> discord.app_commands.CommandTree:
    async def heard(*_: object) -> None: ...

    return build(discord.Client(intents=discord.Intents.none()), registry, 4096, heard)


async def test_the_commands_are_within_discords_limits_and_in_two_languages(
    tree: discord.app_commands.CommandTree,
) -> None:
    payload = [await one.get_translated_payload(tree, Words()) for one in tree.get_commands()]
    check_commands(payload)
    story = next(c for c in payload if c["name"] == "story")
    assert story["contexts"] == [0, 1, 2] and story["integration_types"] == [0, 1]
    for command in payload:
        assert command["name_localizations"].get("it"), command["name"]
    assert all(o["description_localizations"].get("it") for o in story["options"])


def test_styles_come_up_by_name_title_and_keyword(registry: Registry) -> None:
    assert [c.value for c in matching(registry, "LOVE", "story")] == ["lovecraft"]
    assert [c.value for c in matching(registry, "poirot", "story")] == ["agatha"]
    assert matching(registry, "nobody") == []


async def test_a_button_carries_its_whole_meaning_in_its_id() -> None:
    view = view_of(((button(Verb.STYLE, JOB, "agatha"),),))
    assert view is not None and view.is_persistent()
    (item,) = view.children
    assert isinstance(item, PressButton)
    assert item.custom_id == encode(Press(Verb.STYLE, JOB, "agatha"))


# posts, against the loopback server but without its gateway


@pytest.fixture
async def discord_there() -> AsyncIterator[DiscordServer]:
    async with DiscordServer() as server:
        point(server.base, server.gateway.url)
        yield server
        assert server.violations == []


async def logged_in() -> discord.Client:
    client = discord.Client(
        intents=discord.Intents.none(), allowed_mentions=discord.AllowedMentions.none()
    )
    await client.login(TOKEN)
    return client


@pytest.fixture
async def client(discord_there: DiscordServer) -> AsyncIterator[discord.Client]:
    made = await logged_in()
    yield made
    await made.close()


def deferred(server: DiscordServer, *, secret: bool = False) -> Address:
    """A slash command that was acknowledged just now."""
    made = Interaction(server.new_id(), f"token{server.new_id()}", 2, CHANNEL, ALICE, callback=5)
    flags = LOADING | (EPHEMERAL if secret else 0)
    made.response = Message(server.new_id(), CHANNEL, APP, flags=flags)
    server.messages[made.response.id] = made.response
    server.interactions[made.token] = made
    return Address(
        channel=CHANNEL, asker=ALICE, token=made.token, born=time.time(), shown="@original",
        secret=secret,
    )  # fmt: skip


async def test_past_fourteen_minutes_the_channel_takes_over(
    discord_there: DiscordServer, client: discord.Client
) -> None:
    now = [time.time()]
    address = deferred(discord_there)
    post = AnswerMessages(address, client, JOB, clock=lambda: now[0])
    await post.show(Part(text="It rai"))
    now[0] += TOKEN_SECONDS + 1
    await post.show(Part(text="It rained"))
    await post.show(Part(text="It rained."))
    old, new = discord_there.in_channel(CHANNEL)
    assert "goes on" in old.content and new.content == "It rained."
    assert post.address.token == "" and post.address.shown == new.id


async def test_a_token_that_ended_early_costs_no_answer(
    discord_there: DiscordServer, client: discord.Client
) -> None:
    post = AnswerMessages(deferred(discord_there), client, JOB)
    await post.show(Part(text="It rai"))
    discord_there.token_life = 0
    await post.show(Part(text="It rained."))
    await post.add(Part(text="And rained."), 1)
    assert [m.content for m in discord_there.in_channel(CHANNEL)][1:] == [
        "It rained.",
        "And rained.",
    ]


async def test_what_only_the_asker_may_see_never_moves_to_the_channel(
    discord_there: DiscordServer, client: discord.Client
) -> None:
    discord_there.token_life = 0
    post = AnswerMessages(deferred(discord_there, secret=True), client, JOB)
    await post.show(Part(text="A secret."))
    assert [m.content for m in discord_there.in_channel(discord_there.private(ALICE))] == [
        "A secret."
    ]
    assert "A secret." not in [m.content for m in discord_there.in_channel(CHANNEL)]


async def test_a_closed_channel_is_told_privately_with_who_can_open_it(
    discord_there: DiscordServer, client: discord.Client
) -> None:
    discord_there.closed.add(CHANNEL)
    post = AnswerMessages(Address(channel=CHANNEL, asker=ALICE), client, JOB)
    await post.show(Part(text="It rained."))
    told = [m.content for m in discord_there.in_channel(discord_there.private(ALICE))]
    assert told[1:] == ["It rained."] and f"<#{CHANNEL}>" in told[0] and "in Threads" in told[0]


async def test_sent_twice_after_a_crash_it_stands_there_once(
    discord_there: DiscordServer, client: discord.Client
) -> None:
    address = Address(channel=CHANNEL, asker=ALICE)
    job = new_id()
    for _ in range(2):
        post = AnswerMessages(address, client, job)
        await post.show(Part(text="One."))
        await post.add(Part(text="Two."), 1)
    assert [m.content for m in discord_there.in_channel(CHANNEL)] == ["One.", "Two."]


async def test_an_answer_takes_the_place_of_a_draft_that_came_without_our_knowing(
    discord_there: DiscordServer, client: discord.Client
) -> None:
    discord_there.fail("POST", "/messages", status=None, effective=True)
    post = AnswerMessages(Address(channel=CHANNEL, asker=ALICE), client, new_id())
    with pytest.raises(PASSING):
        await post.show(Part(text="-# writing"))
    await post.show(Part(text="It rained."))
    assert [m.content for m in discord_there.in_channel(CHANNEL)] == ["It rained."]


async def test_a_deleted_message_is_not_written_again(
    discord_there: DiscordServer, client: discord.Client
) -> None:
    post = AnswerMessages(Address(channel=CHANNEL, asker=ALICE), client, JOB)
    await post.show(Part(text="It rai"))
    discord_there.in_channel(CHANNEL)[0].deleted = True
    with pytest.raises(Vanished):
        await post.show(Part(text="It rained."))
    assert discord_there.in_channel(CHANNEL) == []


async def test_a_message_too_old_to_edit_is_followed_by_a_new_one(
    discord_there: DiscordServer, client: discord.Client
) -> None:
    post = AnswerMessages(Address(channel=CHANNEL, asker=ALICE), client, JOB)
    await post.show(Part(text="3 before you"))
    discord_there.fail("PATCH", "/messages", status=429, code=30046)
    await post.show(Part(text="It rained."))
    assert [m.content for m in discord_there.in_channel(CHANNEL)] == ["It rained."]


@pytest.mark.parametrize("locked", [False, True])
async def test_a_thread_that_is_archived_under_an_answer_gets_it_or_its_asker_does(
    discord_there: DiscordServer, client: discord.Client, locked: bool
) -> None:
    post = AnswerMessages(Address(channel=THREAD, asker=ALICE), client, JOB)
    await post.show(Part(text="It ▌"))
    discord_there.archived[THREAD] = locked
    await post.show(Part(text="It rained."))
    there = [m.content for m in discord_there.in_channel(THREAD)]
    private = [m.content for m in discord_there.in_channel(discord_there.private(ALICE))]
    assert there == (["It ▌"] if locked else ["It rained."])
    assert private[1:] == (["It rained."] if locked else [])


@pytest.mark.parametrize("status", [None, 502, 503])
async def test_a_call_that_must_arrive_is_repeated(
    discord_there: DiscordServer, client: discord.Client, status: int | None
) -> None:
    post = AnswerMessages(Address(channel=CHANNEL, asker=ALICE), client, JOB)
    discord_there.fail("POST", "/messages", status=status, effective=True)
    await insist(lambda: post.show(Part(text="It rained.")), 30)
    assert [m.content for m in discord_there.in_channel(CHANNEL)] == ["It rained."]


async def test_files_are_uploaded_again_only_when_they_changed(
    discord_there: DiscordServer, client: discord.Client
) -> None:
    post = AnswerMessages(Address(channel=CHANNEL, asker=ALICE), client, JOB)
    page = Part(text="1 of 4", files=(("preview.jpg", b"one"),), alt="a gold ring")
    for shown in (page, replace(page, text="2 of 4"), replace(page, files=(("a.png", b"two"),))):
        await post.show(shown)
    (message,) = discord_there.in_channel(CHANNEL)
    assert message.files == [("a.png", b"two")]
    sent = [call for call in discord_there.calls if "/messages" in call.path]
    assert [len(call.files) for call in sent] == [1, 0, 1]
    assert {call.payload["attachments"][0]["description"] for call in sent if call.files} == {
        "a gold ring"  # what somebody hears who cannot see it
    }


# pictures


def png(side: int) -> bytes:
    """A noisy picture, so that it compresses badly."""
    made = io.BytesIO()
    Image.effect_noise((side, side), 100).convert("RGB").save(made, "PNG")
    return made.getvalue()


def test_a_picture_that_fits_is_sent_as_it_is_and_a_larger_one_smaller() -> None:
    picture = Picture(data=png(256), width=256, height=256, seed=7)
    ((name, data),) = files_of(JOB, [picture], len(picture.data))
    assert name.endswith("seed-7.png") and data == picture.data
    ((name, data),) = files_of(JOB, [picture], 20_000)
    assert name.endswith(".jpg") and len(data) <= 20_000
    assert smaller(picture.data, 10) is None


# the connection


class EventHandlers:
    """Hears nothing."""

    async def message(self, message: object) -> None: ...
    async def pressed(self, interaction: object, press: object) -> None: ...
    async def unknown(self, interaction: object) -> None: ...


async def test_a_gateway_that_went_silent_is_left_and_the_session_resumed(
    discord_there: DiscordServer,
) -> None:
    gateway = discord_there.gateway
    gateway.heartbeat_ms, gateway.acks = 200, False

    async def begin(_: object) -> None: ...

    made = Connection(EventHandlers(), begin, silence=0.7)
    task = asyncio.create_task(made.start(TOKEN))
    await discord_there.wait(lambda: gateway.resumed)
    await made.close()
    await task

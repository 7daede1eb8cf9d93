"""An engine, its services and ChatService for a test module: the echo backend, a folder of its own."""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import ExitStack, aclosing
from pathlib import Path

import ledgers
import postgres
import pytest
import pytest_asyncio

from bot.chat import make_context
from bot.messages.grammar import Command
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from bot.settings import PlatformSettings
from engine.chat.quotas import Bucket
from engine.events import Event
from engine.moderation.chain import usual
from engine.process.bootstrap import open_engine
from engine.process.services import open_services
from engine.settings import Settings

OPERATOR = Who(platform="discord", asker="99", place="office")


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        import time

        return time.time() + self.ahead


@pytest.fixture(scope="module")
def here(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Settings]:
    """The module's data folder; its ledger lies there, or on a server."""
    folder: Path = tmp_path_factory.mktemp("talk")
    made = Settings(home=folder / "home", backend="echo", key_file=folder / "key")
    with ExitStack() as stack:
        if getattr(request, "param", "sqlite") == "postgres":
            server = request.getfixturevalue("postgres_server")
            template = request.getfixturevalue("postgres_template")
            made = postgres.on_postgres(made, stack.enter_context(server.copy(template)))
        ledgers.ready(made)
        yield made


@pytest.fixture(scope="module")
def clock(here: Settings) -> Clock:
    """The clock of the services."""
    return Clock()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(here: Settings, clock: Clock) -> AsyncIterator[ChatService]:
    """Everything wired as `serve` does it, but for the clients."""
    platforms = PlatformSettings(
        discord_token="a.b.c",
        operators=frozenset({"discord:99"}),
        asker_waiting=3,
        contact="us@here",
    )
    purse = Bucket(burst=10, hourly=60)
    async with (
        open_engine(here) as core,
        open_services(
            here, asker=purse, place=Bucket(burst=20, hourly=60), clock=clock
        ) as services,
    ):
        yield ChatService(make_context(core, services, usual(), platforms))


def unhurried(talk: ChatService, most: int = 0) -> None:
    """A test types faster than people do."""
    talk.context.hurry.limit = None
    talk.context.hurry.most = most


async def replies_of(
    talk: ChatService, command: Command, who: Who
) -> AsyncGenerator[Event | Reply]:
    """What comes of a command, words or events, as it comes."""
    reply = await talk.say(command, who)
    if isinstance(reply, Reply):
        yield reply
        return
    async with aclosing(reply) as events:
        async for event in events:
            yield event


async def told(talk: ChatService, text: str, who: Who) -> list[Event | Reply]:
    """Everything that comes of a line of text; answers are delivered as a client does it."""
    unhurried(talk, talk.context.settings.asker_waiting)
    async with aclosing(replies_of(talk, talk.parse(text), who)) as replies:
        return await delivered(talk, [reply async for reply in replies])


async def delivered(talk: ChatService, replies: list[Event | Reply]) -> list[Event | Reply]:
    """The same, after the client's word that it arrived."""
    if replies and not isinstance(replies[-1], Reply):
        await talk.context.services.outbox.sending(replies[-1].job)
        await talk.deliveries.delivered(replies[-1].job)
    return replies


async def pressed(talk: ChatService, press, who: Who) -> list[Event | Reply]:
    """Everything that comes of a button."""
    reply = await talk.press(press, who)
    if isinstance(reply, Reply):
        return [reply]
    async with aclosing(reply) as replies:
        return await delivered(talk, [event async for event in replies])

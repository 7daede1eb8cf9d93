"""A ChatService with a study that runs: the echo backend, a data folder and keys of their own."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import ledgers
import postgres
import pytest
import pytest_asyncio
import sqlalchemy as sa
from talking import Clock, pressed, told

from bot.chat import make_context
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from bot.settings import PlatformSettings
from engine.ledger.tables import Table
from engine.moderation.chain import usual
from engine.process.bootstrap import open_engine
from engine.process.services import open_services
from engine.settings import Settings

STUDY_FILE = """
title = "Pastiche and its readers"
researcher = "A. Researcher, University of Somewhere"
contact = "study@example.org"
purpose = "It asks how people write with a machine that imitates declared styles."
purpose_it = "Chiede come si scrive con una macchina che imita stili dichiarati."
"""


def make_study(home: Path, name: str = "pilot", text: str = STUDY_FILE) -> Path:
    """The study's folder in a data folder."""
    folder = home / "studies" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def here(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Settings]:
    """The module's data folder, in which the study "pilot" runs."""
    folder: Path = tmp_path_factory.mktemp("studied")
    made = Settings(home=folder / "home", backend="echo", key_file=folder / "key", study="pilot")
    make_study(made.home)
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
    platforms = PlatformSettings(operators=frozenset({"discord:99"}), contact="us@here")
    async with open_engine(here) as core, open_services(here, clock=clock) as services:
        yield ChatService(make_context(core, services, usual(), platforms))


async def agree(
    talk: ChatService, who: Who, *, excerpts: bool = True, linkage: bool = True
) -> Reply:
    """Consent as somebody gives it: /consent, an answer to each question, save."""
    [form] = await told(talk, "/consent", who)
    for yes in (True, True, excerpts, linkage):
        [form] = await pressed(talk, form.ask[0 if yes else 1].press, who)
    [done] = await pressed(talk, form.ask[0].press, who)
    return done


async def study_counts(talk: ChatService) -> dict[str, int]:
    """How many rows each of the study's tables has."""
    ours = [t for t in Table.__subclasses__() if t.__module__.startswith("engine.study.")]
    assert len(ours) > 10
    async with talk.context.services.ledger.reading() as connection:
        return {
            t.__tablename__: await connection.scalar(sa.select(sa.func.count()).select_from(t))
            for t in ours
        }

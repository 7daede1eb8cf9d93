"""A study with made-up people, written into a ledger's tables as the program writes it. No test."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ledgers
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from engine.ledger.storage import open_database
from engine.ledger.transactions import Database
from engine.media.store import PictureStore
from engine.settings import Settings
from engine.study import tables as t
from engine.study.experiments import tables as e

STUDY = "pilot"
BEGUN = 1_767_250_000.0  # a Thursday in January 2026
STUDY_FILE = """\
title = "Who wrote this?"
researcher = "A. Researcher, University of Examples"
contact = "study@example.org"
purpose = "How people judge stories that are written in a declared manner."
"""
EXPERTS = ("lovecraft", "agatha", "newsroom")
RULES = ("default", "keyword", "style", "forced")
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d49444154789c6360f8cf"
    "c000000003010100c9fe92ef0000000049454e44ae426082"
)


def write_study_file(settings: Settings, more: str = "") -> Path:
    """`study.toml`, with more lines at its end."""
    path = settings.home / "studies" / STUDY / "study.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(STUDY_FILE + more, encoding="utf-8")
    return path


class Rows:
    """Adds rows, every id and time from one seed."""

    def __init__(self, connection: AsyncConnection, seed: int = 0) -> None:
        self._connection = connection
        self.random = random.Random(seed)
        self.now = BEGUN

    def id(self) -> str:
        """A ULID of the made-up time."""
        return str(
            ULID.from_bytes(int(self.now * 1000).to_bytes(6, "big") + self.random.randbytes(10))
        )

    async def add(self, table: type[t.Table], **values: Any) -> Any:
        """Add a row; columns that are not named stay empty. Returns its primary key."""
        row = {"study": STUDY, **values}
        # the row as parameters: SQLAlchemy compiles the statement once for each set of columns
        done = await self._connection.execute(sa.insert(table.__table__), row)
        return done.inserted_primary_key[0]

    def person(self, number: int) -> str:
        """The pseudonym of the n-th person."""
        return random.Random(f"person {number}").randbytes(16).hex()

    async def consent(self, pseudonym: str, **changes: Any) -> int:
        """What somebody says: yes to all, unless changed."""
        self.now += 60
        values = {
            "pseudonym": pseudonym,
            "action": "granted",
            "use": True,
            "excerpts": True,
            "linkage": True,
            "adult": True,
            "text_version": "1",
            "text_sha256": "ab" * 32,
            "locale": "en",
            "platform": "discord",
            "channel": "ephemeral",
            "at": self.now,
        }
        return await self.add(t.ConsentRow, **{**values, **changes})

    async def interaction(self, pseudonym: str, consent: int, **changes: Any) -> str:
        """One request with its answer."""
        self.now += self.random.uniform(5, 900)
        wait, first, whole = (self.random.expovariate(1 / mean) for mean in (2, 1, 12))
        values = {
            "id": self.id(),
            "pseudonym": pseudonym,
            "consent_id": consent,
            "session": self.id(),
            "platform": "discord",
            "place": "cd" * 16,
            "private": True,
            "command": "story",
            "typed": "a story about rain",
            "text": "a story about rain",
            "rule": self.random.choice(RULES),
            "route": '{"expert":"lovecraft","evidence":[{"words":"rain","start":14,"end":18}]}',
            "router_version": "1",
            "expert": self.random.choice(EXPERTS),
            "medium": "text",
            "plain": False,
            "base_digest": "b" * 64,
            "adapter_digest": "a" * 64,
            "sampling": {"temperature": 0.8},
            "prompt": "Write a story about rain.",
            "length": 220,
            "seed": self.random.randrange(2**31),
            "accepted_at": self.now,
            "started_at": self.now + wait,
            "first_token_at": self.now + wait + first,
            "finished_at": self.now + wait + first + whole,
            "delivered_at": self.now + wait + first + whole + 0.2,
            "state": "finished",
            "tokens_in": 12,
            "tokens_out": 200,
            "output": "It rained, and the rain was old.",
            "moderation": [
                {"stage": "input", "action": "allow", "reasons": {}, "at": self.now + 0.25},
                {"stage": "output", "action": "allow", "reasons": {}, "at": self.now + wait},
            ],
        }
        return str(await self.add(t.InteractionRow, **{**values, **changes}))

    async def rating(self, pseudonym: str, interaction: str, value: int, **changes: Any) -> None:
        """A thumb."""
        self.now += 1
        values = {"id": self.id(), "pseudonym": pseudonym, "value": value, "at": self.now}
        await self.add(t.StudyRatingRow, interaction_id=interaction, **{**values, **changes})

    async def event(self, pseudonym: str, interaction: str, kind: str, **detail: Any) -> None:
        """Something done."""
        self.now += 1
        await self.add(
            t.StudyEventRow,
            id=self.id(),
            pseudonym=pseudonym,
            interaction_id=interaction,
            kind=kind,
            detail=detail,
            at=self.now,
        )

    async def exposure(
        self, pseudonym: str, kind: str, shown: Sequence[Any], **changes: Any
    ) -> str:
        """Something shown to be judged."""
        self.now += 5
        values = {
            "id": self.id(),
            "pseudonym": pseudonym,
            "kind": kind,
            "shown": list(shown),
            "seed": 1,
            "position": 0,
            "state": "voted",
            "latency": 9.5,
            "visible": {"form": "message"},
            "made_at": self.now,
            "delivered_at": self.now + 10,
            "revealed_at": self.now + 30,
        }
        return str(await self.add(e.Exposure, **{**values, **changes}))

    async def vote(self, pseudonym: str, exposure: str, choice: str, **changes: Any) -> None:
        """A judgement."""
        self.now += 20
        values = {
            "id": self.id(),
            "pseudonym": pseudonym,
            "choice": choice,
            "unblinded": False,
            "seconds": self.random.uniform(2, 60),
            "at": self.now,
        }
        await self.add(e.Vote, exposure_id=exposure, **{**values, **changes})

    async def item(self, number: int, **changes: Any) -> str:
        """A passage of the pool."""
        values = {
            "id": str(ULID.from_bytes(random.Random(f"item {number}").randbytes(16))),
            "kind": ("real", "generated")[number % 2],
            "expert": EXPERTS[number % 3],
            "medium": "text",
            "text": f"Passage {number}.",
            "source": "A book of 1900",
            "licence": "public domain",
            "digest": f"{number:064x}",
            "active": True,
        }
        return str(await self.add(e.ItemRow, **{**values, **changes}))


async def fill_study(database: Database, settings: Settings, people: int, each: int = 3) -> None:
    """Many people, each with requests, thumbs, comparisons and guesses."""
    media = PictureStore(settings.media, database.vault).put(PNG)
    async with database.writing() as connection:
        rows = Rows(connection)
        items = [await rows.item(number) for number in range(24)]
        for number in range(people):
            name = rows.person(number)
            consent = await rows.consent(
                name, locale=("en", "it")[number % 2], excerpts=number % 3 > 0
            )
            for turn in range(each):
                await _turn(rows, name, consent, number, turn, items, media)
        for outcome, count in (("invited", 5), ("opened", 3), ("declined", 2)):
            for _ in range(count):
                lookup = rows.random.randbytes(32).hex()
                await rows.add(t.InvitationRow, lookup=lookup, outcome=outcome, at=rows.now)


async def _turn(
    rows: Rows, name: str, consent: int, number: int, turn: int, items: list[str], media: str
) -> None:
    platform = ("discord", "telegram")[number % 2]
    one = await rows.interaction(name, consent, platform=platform, private=turn % 2 == 0)
    await rows.rating(name, one, rows.random.choice((1, 1, -1)))
    await rows.event(name, one, "press", button="again")
    if turn == 0:
        picture = {"media": media, "number": 0, "width": 1, "height": 1, "seed": 1}
        await rows.add(
            t.StudyPictureRow, id=rows.id(), pseudonym=name, interaction_id=one, **picture
        )
    pair = [
        await rows.interaction(name, consent, platform=platform, expert="agatha", plain=plain)
        for plain in (False, True)
    ]
    arms = [("expert", False, pair[0]), ("base", True, pair[1])]
    rows.random.shuffle(arms)
    shown = [
        {"label": label, "arm": arm, "expert": "agatha", "plain": plain, "interaction": interaction}
        for label, (arm, plain, interaction) in zip("ab", arms, strict=True)
    ]
    exposure = await rows.exposure(name, "compare", shown, position=turn)
    better = "a" if shown[0]["arm"] == "expert" else "b"
    choice = rows.random.choice((better, better, better, "ab".replace(better, ""), "tie", "bad"))
    await rows.vote(name, exposure, choice)
    item = items[(number + turn) % len(items)]
    kind = ("real", "generated")[(number + turn) % 2]
    guess = await rows.exposure(
        name, "guess", [{"item": item, "kind": kind, "expert": "agatha"}], item=item, position=turn
    )
    right = rows.random.random() < 0.65
    said = kind if right else ("generated" if kind == "real" else "real")
    await rows.vote(name, guess, said, confidence=rows.random.randint(1, 6))


async def opened(settings: Settings) -> Database:
    """A new ledger with a study file beside it."""
    ledgers.ready(settings)
    write_study_file(settings)
    return Database(await open_database(settings))

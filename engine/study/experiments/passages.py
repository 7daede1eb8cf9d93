"""Passages to guess, real or generated: each is shown to a person once; the score.

A keyed coin is thrown for every guess by itself: in balanced blocks, whoever counts what they were told
knows the last of each without reading it (d' 1.1). Among the passages of a kind the one shown least goes
first. Nobody is shown what was generated for them.
"""

import hashlib
import statistics
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated, Any, Literal

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from engine.errors import SetupError
from engine.ledger.transactions import Database, add, repeated
from engine.study.experiments.allocation import shuffled
from engine.study.experiments.tables import Exposure, ItemRow, Vote
from engine.study.study import Study, mistake

if TYPE_CHECKING:
    from engine.study.consent.participants import Person

KINDS = ("real", "generated")
SCORE_AFTER = 10  # guesses; d' of fewer says nothing
CONFIDENCES = range(1, 7)

Kind = Literal["real", "generated"]


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind
    expert: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    text: Annotated[str, StringConstraints(min_length=120, max_length=1400, strip_whitespace=True)]
    source: Annotated[str, StringConstraints(min_length=3, max_length=300)]
    licence: Annotated[str, StringConstraints(min_length=3, max_length=300)]

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def id(self) -> str:
        return self.digest[:26]  # as long as all ids


class _Pool(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    item: Annotated[tuple[Item, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    guesses: int
    right: int
    dprime: float | None = None
    criterion: float | None = None


def read_items(text: str, name: str) -> tuple[Item, ...]:
    try:
        return _Pool.model_validate(tomllib.loads(text)).item
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{name} is not TOML: {error}.") from None
    except ValidationError as error:
        raise SetupError(f"{name}: {mistake(error)}") from None


def shipped() -> tuple[Item, ...]:
    folder = files("engine.study.passages")
    found = sorted((p for p in folder.iterdir() if p.name.endswith(".toml")), key=lambda p: p.name)
    return tuple(i for p in found for i in read_items(p.read_text(encoding="utf-8"), p.name))


def pool_note() -> str:
    """Give what is said at the head of the shipped pool: how it was matched."""
    text = files("engine.study.passages").joinpath("generated.toml").read_text(encoding="utf-8")
    return text.partition("\n")[0].removeprefix("# ")


def score_of(guesses: Iterable[tuple[str, str]]) -> Score:
    """Score pairs (what it was, what was said). A generated passage is the signal; rates are corrected
    by half a guess (log-linear; Hautus 1995), so that no rate is 0 or 1.

    >>> score_of([("real", "real"), ("generated", "real")])
    Score(guesses=2, right=1, dprime=None, criterion=None)
    """
    made = list(guesses)
    right = sum(was == said for was, said in made)
    signal = [said for was, said in made if was == "generated"]
    noise = [said for was, said in made if was == "real"]
    if len(made) < SCORE_AFTER or not signal or not noise:
        return Score(guesses=len(made), right=right)
    hit, alarm = (
        statistics.NormalDist().inv_cdf((said.count("generated") + 0.5) / (len(said) + 1))
        for said in (signal, noise)
    )
    return Score(guesses=len(made), right=right, dprime=hit - alarm, criterion=-(hit + alarm) / 2)


def next_kind(key: bytes, person: str, number: int) -> str:
    return shuffled(key, f"guess|{person}|{number}", KINDS)[0]


def choose(
    items: Sequence[Item], had: set[str], kind: str, shown: dict[str, int], key: bytes, person: str
) -> Item | None:
    """Choose the passage of that kind that was shown least, and not to this person. None: all were."""
    left = [item for item in items if item.kind == kind and item.id not in had]
    left = shuffled(key, f"passages|{person}", left)
    return min(left, key=lambda item: shown.get(item.id, 0), default=None)


class PassagePool:
    def __init__(self, database: Database, study: Study) -> None:
        self._database = database
        self._study = study

    async def stock(self) -> int:
        return await self.add(shipped())

    @repeated
    async def add(self, items: Sequence[Item], author: str | None = None) -> int:
        """Put passages in; those that are there stay as they are. Return how many were new."""
        query = sa.select(ItemRow.id).where(ItemRow.study == self._study.id)
        known = await self._database.scalars(query)
        new = [item for item in items if item.id not in known]
        if not new:
            return 0
        async with self._database.writing() as connection:
            return sum([await add(connection, ItemRow, self._row(i, author)) for i in new])

    def _row(self, item: Item, author: str | None) -> dict[str, Any]:
        return item.model_dump() | {
            "id": item.id,
            "study": self._study.id,
            "medium": "text",
            "digest": item.digest,
            "author": author,
            "active": True,
        }

    async def pool(self, person: "Person | None" = None, expert: str = "") -> list[Item]:
        """List the passages that may be shown to that person; of one expert's manner, or of all."""
        query = sa.select(ItemRow.__table__).where(
            ItemRow.study == self._study.id, ItemRow.active, ItemRow.text.is_not(None)
        )
        if expert:
            query = query.where(ItemRow.expert == expert)
        rows = await self._database.rows(query.order_by(ItemRow.id))
        mine = set(person.accounts) if person else set()
        return [
            Item(kind=r.kind, expert=r.expert, text=r.text, source=r.source, licence=r.licence)
            for r in rows
            if r.author is None or r.author not in mine
        ]

    async def draw(self, person: "Person", expert: str = "") -> Item | None:
        items = await self.pool(person, expert)
        mine = Exposure.pseudonym.in_(person.accounts)
        guesses = sa.select(Exposure.item).where(mine, Exposure.kind == "guess")
        had = {name for name in await self._database.scalars(guesses) if name}
        counts = (
            sa.select(Exposure.item, sa.func.count())
            .where(Exposure.study == self._study.id, Exposure.item.is_not(None))
            .group_by(Exposure.item)
        )
        shown = {str(name): n for name, n in await self._database.rows(counts)}
        key = self._study.needed_key()
        kind = next_kind(key, person.root, len(had))
        return choose(items, had, kind, shown, key, person.root)

    async def score(self, person: "Person") -> Score:
        query = (
            sa.select(Exposure.id, Exposure.shown, Vote.choice)
            .join(Vote, Vote.exposure_id == Exposure.id)
            .where(Exposure.kind == "guess", Exposure.pseudonym.in_(person.accounts))
            .order_by(Vote.at, Vote.id)
        )
        rows = await self._database.rows(query)
        last = {row.id: (row.shown[0]["kind"], row.choice) for row in rows}
        return score_of(last.values())

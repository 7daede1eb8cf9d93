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
from functools import cache
from importlib.resources import files
from typing import Annotated, Any, Literal, Self

import sqlalchemy as sa
from pydantic import Field, StringConstraints, ValidationError, model_validator

from engine.errors import SetupError
from engine.ledger.transactions import add, repeated
from engine.study.consent.participants import Person
from engine.study.experiments.allocation import shuffled
from engine.study.experiments.questions import Strict
from engine.study.experiments.tables import Exposure, ItemRow, choices
from engine.study.study import StudyService, mistake

KINDS = ("real", "generated")
SCORE_AFTER = 10  # guesses; d' of fewer says nothing
CONFIDENCES = range(1, 7)
SHORTEST, LONGEST = 120, 1400  # characters

Kind = Literal["real", "generated"]


class Item(Strict):
    """Validate a text to be judged, or a picture by its SHA-256; in a `pool` a version of a stimulus."""

    kind: Kind
    expert: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
    text: Annotated[str, StringConstraints(max_length=LONGEST, strip_whitespace=True)] = ""
    picture: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = ""
    source: Annotated[str, StringConstraints(min_length=3, max_length=300)]
    licence: Annotated[str, StringConstraints(min_length=3, max_length=300)]
    pool: Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9_-]{0,31})?$")] = ""
    stimulus: Annotated[str, StringConstraints(max_length=32)] = ""
    arm: Annotated[str, StringConstraints(max_length=16)] = ""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.text) == bool(self.picture) or (self.text and len(self.text) < SHORTEST):
            raise ValueError(f"it has a text of {SHORTEST} characters or more, or a picture")
        if not bool(self.pool) == bool(self.stimulus) == bool(self.arm):
            raise ValueError("a stimulus has its pool and its arm")
        return self

    @property
    def digest(self) -> str:
        return self.picture or hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def id(self) -> str:
        """Name it by what it is, as long as all ids; a stimulus also by where it belongs."""
        if not self.pool:
            return self.digest[:26]
        of = f"{self.pool}|{self.stimulus}|{self.arm}|{self.digest}"
        return hashlib.sha256(of.encode()).hexdigest()[:26]

    @classmethod
    def of(cls, row: Any) -> "Item":
        same = ("kind", "expert", "text", "source", "licence", "pool", "stimulus", "arm")
        facts = {name: getattr(row, name) or "" for name in same}
        return cls.model_validate(facts | {"picture": row.media or ""})

    def row(self, study: str, author: str | None = None) -> dict[str, Any]:
        same = self.model_dump(include={"kind", "expert", "source", "licence", "pool"})
        return same | {
            "id": self.id,
            "study": study,
            "medium": "image" if self.picture else "text",
            "text": self.text or None,
            "media": self.picture or None,
            "digest": self.digest,
            "author": author,
            "active": True,
            "stimulus": self.stimulus or None,
            "arm": self.arm or None,
        }


class _Pool(Strict):
    item: Annotated[tuple[Item, ...], Field(min_length=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    guesses: int
    right: int
    dprime: float | None = None


def read_items(text: str, name: str) -> tuple[Item, ...]:
    try:
        return _Pool.model_validate(tomllib.loads(text)).item
    except tomllib.TOMLDecodeError as error:
        raise SetupError(f"{name} is not TOML: {error}.") from None
    except ValidationError as error:
        raise SetupError(f"{name}: {mistake(error)}") from None


@cache
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
    Score(guesses=2, right=1, dprime=None)
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
    return Score(guesses=len(made), right=right, dprime=hit - alarm)


def next_kind(key: bytes, person: str, number: int) -> str:
    return shuffled(key, f"guess|{person}|{number}", KINDS)[0]


def choose(
    items: Sequence[Item], had: set[str], kind: str, shown: dict[str, int], key: bytes, person: str
) -> Item | None:
    """Choose the passage of that kind that was shown least, and not to this person. None: all were."""
    left = [item for item in items if item.kind == kind and item.id not in had]
    left = shuffled(key, f"passages|{person}", left)
    return min(left, key=lambda item: shown.get(item.id, 0), default=None)


class PassagePool(StudyService):
    @repeated
    async def add(self, items: Sequence[Item], author: str | None = None) -> int:
        """Put passages in; those that are there stay as they are. Return how many were new."""
        query = sa.select(ItemRow.id).where(ItemRow.study == self._study.id)
        known = await self._database.scalars(query)
        new = [item for item in items if item.id not in known]
        if not new:
            return 0
        async with self._database.writing() as connection:
            rows = [item.row(self._study.id, author) for item in new]
            return sum([await add(connection, ItemRow, row) for row in rows])

    async def pool(self, person: Person | None = None, expert: str = "") -> list[Item]:
        """List the passages that may be shown to that person; of one expert's manner, or of all."""
        of: dict[str, Any] = {"study": self._study.id, "active": True, "pool": ""}
        of |= {"expert": expert} if expert else {}
        query = sa.select(ItemRow.__table__).filter_by(**of)
        rows = await self._database.rows(query.order_by(ItemRow.id))
        mine = set(person.accounts) if person else set()
        return [Item.of(row) for row in rows if row.text and (row.author or "") not in mine]

    async def draw(self, person: Person, expert: str = "") -> Item | None:
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

    async def score(self, person: Person) -> Score:
        mine = Exposure.kind == "guess", Exposure.pseudonym.in_(person.accounts)
        rows = await self._database.rows(choices(*mine))
        last = {row.id: (row.shown[0]["kind"], row.choice) for row in rows}
        return score_of(last.values())

"""An experiment as its researcher writes it: one TOML file, every mistake named.

It lies in `studies/<study>/experiments/<id>.toml`. From the first unit that is enrolled on it is frozen:
what runs is the copy in the database, and a file that differs is refused by name. Three tasks:

    single    ordinary requests are answered under the unit's arm
    compare   /compare shows two arms side by side, blinded, and asks which is better
    guess     /guess shows a passage and asks whether a person or a model wrote it
"""

import datetime
import difflib
import hashlib
import itertools
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from engine.errors import SetupError
from engine.plan.cards import Sampling, Template
from engine.plan.treatment import PICTURE_VALUES, TEXT_VALUES
from engine.study.experiments.questions import Question, Rating

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
ArmName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,14}$")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=2000, strip_whitespace=True)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Platform = Literal["discord", "telegram", "terminal"]
BETWEEN = "+"  # the arms of a pair


_SAMPLING = TypeAdapter(Sampling)


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Arm(_Part):
    """Validate what is different in an arm; with nothing set, the answer is as everybody gets it."""

    name: ArmName
    expert: Name | Literal[""] = ""
    plain: bool = False
    sampling: dict[str, float] = {}
    template: str = ""
    router: Literal["rules", "keywords", "default"] = "rules"
    weight: Annotated[int, Field(ge=1, le=100)] = 1

    @model_validator(mode="after")
    def _possible(self) -> Self:
        known = (*TEXT_VALUES, *PICTURE_VALUES)
        if unknown := [name for name in self.sampling if name not in known]:
            raise ValueError(f"sampling has no {', '.join(unknown)}; there are {', '.join(known)}")
        texts = {
            name: int(value) if value.is_integer() else value
            for name, value in self.sampling.items()
            if name in TEXT_VALUES
        }
        try:
            _SAMPLING.validate_python(texts)
        except ValidationError as error:
            one = error.errors(include_url=False)[0]
            raise ValueError(
                f"sampling.{one['loc'][0]}: {one['msg']}, not {one['input']}"
            ) from None
        if self.template:
            Template(text=self.template)
        if self.expert and self.router != "rules":
            raise ValueError("an arm that names its expert needs no router")
        return self


class Eligible(_Part):
    """Validate who and what is taken in; empty: everybody, everything."""

    platforms: tuple[Platform, ...] = ()
    locales: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")], ...] = ()
    languages: tuple[Literal["en"], ...] = ()
    commands: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,32}$")], ...] = ()
    experts: tuple[Name, ...] = ()
    minimum_age: Annotated[int, Field(ge=16, le=99)] = 18


class Exclusion(_Part):
    """Validate which units an analysis leaves out; they are marked, never deleted.

    `fewer_exposures` counts those that one person has answered, or seen where nothing is asked.
    """

    fewer_exposures: Annotated[int, Field(ge=0)] = 0
    faster_seconds: Annotated[float, Field(ge=0)] = 0.0
    unblinded: bool = False


class Experiment(_Part):
    """Validate the whole file. `max_n` counts units, `exposures` those of one person until the end;
    `scrub` are words that would tell an arm, taken out of what is compared."""

    id: Name
    title: Line
    title_it: str = Field(default="", max_length=200)
    hypothesis: Words
    preregistration: Annotated[str, StringConstraints(pattern=r"^(https://\S{4,300})?$")] = ""
    task: Literal["single", "compare", "guess"]
    unit: Literal["person", "request", "place"] = "person"
    allocation: Literal["simple", "blocks"] = "blocks"
    start: datetime.date
    stop: datetime.date
    max_n: Annotated[int, Field(ge=1, le=1_000_000)]
    exposures: Annotated[int, Field(ge=1, le=1000)] = 10
    reveal: Literal["each", "end", "none"] = "end"
    blind: bool = True
    scrub: tuple[Line, ...] = ()
    completion_code: bool = False
    debrief: str = Field(default="", max_length=1500)
    debrief_it: str = Field(default="", max_length=1500)
    arms: tuple[Arm, ...] = ()
    eligible: Eligible = Eligible()
    exclude: Exclusion = Exclusion()
    rating: Rating | None = None
    before: Annotated[tuple[Question, ...], Field(max_length=12)] = ()
    after: Annotated[tuple[Question, ...], Field(max_length=12)] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError("arms: every arm needs a name of its own")
        if self.task != "guess" and len(names) < 2:
            raise ValueError(f"arms: the task {self.task} needs two arms at least")
        if self.stop < self.start:
            raise ValueError("stop: must not come before start")
        if self.task == "guess" and self.unit != "person":
            raise ValueError("unit: the task guess is allocated by person")
        if self.unit != "person" and (self.before or self.after or self.completion_code):
            raise ValueError("unit: questions and codes are for the unit person")
        if self.unit != "person" and self.exclude.fewer_exposures:
            raise ValueError(
                "unit: fewer_exposures counts one person's, so it is for the unit person"
            )
        ids = [question.id for question in (*self.before, *self.after)]
        if len(set(ids)) < len(ids):
            raise ValueError("before, after: every question needs an id of its own")
        return self

    @property
    def weights(self) -> dict[str, int]:
        if self.task == "compare":
            pairs = itertools.combinations(self.arms, 2)
            return {f"{a.name}{BETWEEN}{b.name}": a.weight * b.weight for a, b in pairs}
        return {arm.name: arm.weight for arm in self.arms} or {"all": 1}

    def arms_of(self, arm: str) -> tuple[Arm, ...]:
        """Find the arms that a unit was allocated to: one, or the two of a pair."""
        known = {each.name: each for each in self.arms}
        return tuple(known[name] for name in arm.split(BETWEEN) if name in known)

    def said(self, name: Literal["title", "debrief"], locale: str) -> str:
        italian = getattr(self, f"{name}_it") if locale.startswith("it") else ""
        return str(italian or getattr(self, name))

    def runs(self, now: float) -> bool:
        """Tell whether the day, in UTC, lies within its dates, the last one included."""
        today = datetime.datetime.fromtimestamp(now, datetime.UTC).date()
        return self.start <= today <= self.stop


def version_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def parse_experiment(text: str, name: str) -> Experiment:
    """Parse a file's text. Raises SetupError with all of its mistakes, each by its key."""
    try:
        lines = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise SetupError(f"{name} is not TOML: {error}.") from None
    try:
        return Experiment.model_validate(lines)
    except ValidationError as error:
        mistakes = [_mistake(one, text) for one in error.errors(include_url=False)]
        raise SetupError("\n".join([f"{name} is not right:", *mistakes])) from None


def _line(where: tuple[int | str, ...], text: str) -> str:
    """Name the line of a key within its table, the n-th of its name; else the table's; else none."""
    lines, names = text.splitlines(), [part for part in where if isinstance(part, str)]
    number = next((part for part in where if isinstance(part, int)), 0)
    table, key = (re.escape(name) for name in (names[0], names[-1])) if names else ("", "")
    heads = [n for n, line in enumerate(lines) if re.match(rf"\s*\[+{table}\]", line)]
    start = heads[number] if number < len(heads) else 0
    own = (n for n in range(start, len(lines)) if re.match(rf"\s*{key}\s*=", lines[n]))
    found = next(own, start if heads else None)
    return "" if found is None else f"line {found + 1}, "


def near(name: str, known: Iterable[str]) -> str:
    """Propose what was likely meant.

    >>> near("lovcraft", ["agatha", "lovecraft"])
    ' Did you mean lovecraft?'
    """
    found = difflib.get_close_matches(name, list(known), 1)
    return f" Did you mean {found[0]}?" if found else ""


def _mistake(error: Any, text: str) -> str:
    where = _line(error["loc"], text) + (".".join(str(part) for part in error["loc"]) or "file")
    given = error.get("input")
    stands = f" (there stands {given!r})" if isinstance(given, str | int | float | bool) else ""
    match error["type"]:
        case "extra_forbidden":
            known = list(_known(error["loc"]))
            meant = near(str(error["loc"][-1]), known)
            return f"  {where}: there is no such key; here are: {', '.join(known)}.{meant}"
        case "string_pattern_mismatch":
            address = "https" in error["ctx"]["pattern"]
            form = (
                "an address that begins with https://"
                if address
                else "small letters, digits, - and _"
            )
            return f"  {where}: must be {form}{stands}."
        case "missing":
            return f"  {where}: is missing."
        case _:
            return f"  {where}: {error['msg'].removeprefix('Value error, ')}{stands}."


def _known(where: tuple[int | str, ...]) -> Iterable[str]:
    inside: dict[str, type[BaseModel]] = {
        "arms": Arm, "eligible": Eligible, "exclude": Exclusion, "rating": Rating,
        "before": Question, "after": Question,
    }  # fmt: skip
    part = inside.get(str(where[0]), Experiment) if len(where) > 1 else Experiment
    return part.model_fields


def read_experiment(path: Path) -> tuple[Experiment, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"{path} cannot be read: {error}.") from None
    experiment = parse_experiment(text, path.name)
    if experiment.id != path.stem:
        raise SetupError(
            f"{path.name}: the id is {experiment.id!r}, but the file's name says {path.stem!r}. "
            "Make them the same."
        )
    return experiment, text

"""The experts there are: one card each, read from the built-in folder and from PASTICHE_HOME/experts.

An expert is data. A card (`<root>/<name>/card.toml`) says which command it answers, which words call
it, its prompt, sampling, weights and rights. A later root's card replaces an earlier one of its name.
"""

import logging
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from engine.errors import SetupError, in_one_line
from engine.plan.picture import Drawing
from engine.weights.bases import known_as, pinned

log = logging.getLogger(__name__)

CARD = "card.toml"
MOST_BYTES = 256 << 10  # of a card
MOST_KEYWORDS = 500
MOST_BANS = 200
MOST_EXAMPLES = 1000
MISTAKES = 5  # that are told of one card

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,31}$"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Keyword = Annotated[str, StringConstraints(min_length=2, max_length=64, strip_whitespace=True)]
Example = Annotated[str, StringConstraints(min_length=3, max_length=300, strip_whitespace=True)]
Medium = Literal["text", "image"]
Phrase = Annotated[str, StringConstraints(min_length=2, max_length=80, strip_whitespace=True)]
STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How tokens are drawn: docs/serving.md. `length` in tokens is for when nobody says."""

    __pydantic_config__ = STRICT
    temperature: Annotated[float, Field(ge=0, le=5)] = 0.8
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.95
    top_k: Annotated[int, Field(ge=0)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    top_n_sigma: Annotated[float, Field(ge=0, le=10)] = 0.0
    xtc_probability: Annotated[float, Field(ge=0, le=1)] = 0.0
    xtc_threshold: Annotated[float, Field(gt=0, le=0.5)] = 0.1
    repetition_penalty: Annotated[float, Field(gt=0, le=5)] = 1.0
    repetition_last_n: Annotated[int, Field(ge=0)] = 64
    dry_multiplier: Annotated[float, Field(ge=0, le=10)] = 0.0
    dry_base: Annotated[float, Field(ge=1, le=4)] = 1.75
    dry_allowed_length: Annotated[int, Field(ge=1, le=40)] = 2
    end_gain: Annotated[float, Field(ge=0, le=2)] = 0.25
    length: Annotated[int, Field(ge=16, le=4096)] = 220


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """One profile's weights: a base, and an adapter upon it. An empty adapter means base alone.

    Both are a hub id (`org/name`), a folder, or a GGUF file (bases only); a relative path means
    beside the card. `digest`, where given, must be the adapter's, as `revision` is; `base_revision` is
    the base's commit or tag on the hub. For pictures a profile may also name a VAE in the base's place,
    a `speed` adapter for few steps, and how it draws where that differs from the card's `[drawing]`.
    """

    __pydantic_config__ = STRICT
    base: Annotated[str, StringConstraints(min_length=1)]
    adapter: str = ""
    digest: str = ""
    revision: str = ""
    base_revision: Annotated[str, StringConstraints(pattern=r"^[\w.-]*$")] = ""
    vae: str = ""
    speed: str = ""
    drawing: Drawing | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """Wishes and beginnings that this card is for; what is nearest to them in meaning goes to it."""

    __pydantic_config__ = STRICT
    examples: Annotated[tuple[Example, ...], Field(max_length=MOST_EXAMPLES)] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Rights:
    """The licence of the weights, and where and how what they write may be used."""

    __pydantic_config__ = STRICT
    licence: Annotated[str, StringConstraints(min_length=1)]
    basis: str = ""
    territories: tuple[str, ...] = ()
    attribution: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The prompt's text with {instruction}, {request} (the wish as a sentence) or {topic} (as a
    headline), and last of all {beginning}; a story's notes stand before that, as `note` has it."""

    __pydantic_config__ = STRICT
    text: str = "{instruction}\n\n{request}\n{beginning}"
    note: str = "{note}\n"

    def __post_init__(self) -> None:
        if self.text.count("{beginning}") != 1 or not self.text.endswith("{beginning}"):
            raise ValueError("must hold {beginning} once, at its end")
        if self.note.count("{note}") != 1 or self.note.find("\n") != len(self.note) - 1:
            raise ValueError("note must be one line that holds {note} once, ended by a line break")
        rest = self.text
        for name in ("instruction", "request", "topic", "beginning"):
            rest = rest.replace(f"{{{name}}}", "")
        if "{" in rest or "}" in rest:
            raise ValueError(
                "may hold {instruction}, {request}, {topic}, {beginning}, nothing else in braces"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Expert:
    """One specialist. The lowest `order` is a command's default; a wish may hold what it `bans`."""

    __pydantic_config__ = STRICT
    name: Name
    title: Annotated[str, StringConstraints(min_length=1, max_length=80)]
    medium: Medium
    command: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,32}$")]
    rights: Rights
    profiles: dict[str, Weights]
    about: str = ""
    title_it: str = ""
    about_it: str = ""
    label_it: str = ""
    order: int = 100
    keywords: Annotated[tuple[Keyword, ...], Field(max_length=MOST_KEYWORDS)] = ()
    routing: Routing = field(default_factory=Routing)
    label: str = ""
    bans: Annotated[tuple[Phrase, ...], Field(max_length=MOST_BANS)] = ()
    template: Template = field(default_factory=Template)
    sampling: Sampling = field(default_factory=Sampling)
    drawing: Drawing = field(default_factory=Drawing)
    folder: Path = Path()

    @property
    def aliases(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys((self.name, self.title, *self.keywords)))

    def said(self, name: str, locale: str) -> str:
        """Give `title`, `about` or `label` in the reader's language, as far as the card has it."""
        italian = getattr(self, f"{name}_it") if locale.startswith("it") else ""
        return str(italian or getattr(self, name))


_EXPERT = TypeAdapter(Expert)
_loads = lru_cache(maxsize=64)(
    tomllib.loads
)  # a process reads a card twice; 15 ms for its examples


def load_card(folder: Path) -> Expert:
    path = folder / CARD
    try:
        if not path.is_file() or path.stat().st_size > MOST_BYTES:
            raise SetupError(f"The card {path} is no file of at most {MOST_BYTES >> 10} KiB.")
        card = _loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SetupError(f"The card {path} cannot be read: {in_one_line(error)}") from error
    try:
        expert = _EXPERT.validate_python({**card, "folder": folder})
        for weights in expert.profiles.values():
            _absolute(folder, weights)
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(str(part) for part in mistake['loc']) or 'card'}: {mistake['msg']}"
            for mistake in error.errors()[:MISTAKES]
        )
        raise SetupError(f"The card {path} is not right: {mistakes}") from error
    except (OSError, ValueError, RuntimeError) as error:  # too deep, or a path that no system takes
        raise SetupError(f"The card {path} is not right: {in_one_line(error)}") from error
    if expert.name != folder.name:
        raise SetupError(f"The card {path} names {expert.name!r}, its folder is {folder.name!r}.")
    return expert


@dataclass(slots=True, kw_only=True, eq=False)
class Registry:
    """The experts of one profile in card order, and what was wrong with the rest; it may `learn`."""

    profile: str
    experts: tuple[Expert, ...] = ()
    problems: tuple[str, ...] = ()
    known: tuple[str, ...] = ()  # profiles that some card has weights for
    roots: tuple[Path, ...] = ()
    learns: bool = False
    _seen: set[tuple[Path, int, int]] = field(default_factory=set)  # cards as they were
    _learning: Lock = field(default_factory=Lock)

    @classmethod
    def load(cls, roots: Iterable[Path], profile: str, *, learns: bool = False) -> "Registry":
        """Read every card; a bad one is set aside with its problem, and the others serve."""
        registry = cls(profile=profile, roots=tuple(roots), learns=learns)
        registry._add(registry._newest())
        return registry

    def learn(self) -> "Registry":
        """Take in cards that came since; gives itself. Known ones and commands stay until a restart."""
        if self.learns:
            with self._learning:
                told, newest = len(self.problems), self._newest()
                known = {expert.name for expert in self.experts}
                self._add(e for e in newest if e.name not in known and e.command in self.commands)
            for problem in self.problems[told:]:
                log.warning("a new card is set aside", extra={"why": problem})
        return self

    def _newest(self) -> list[Expert]:
        """Read what was not seen before; a later root's card replaces an earlier one of its name."""
        found: dict[str, Expert] = {}
        for path in (path for root in self.roots for path in sorted(root.glob(f"[!.]*/{CARD}"))):
            with suppress(OSError):  # it has gone, or comes another time
                stat = path.stat()
                if (stamp := (path, stat.st_mtime_ns, stat.st_size)) in self._seen:
                    continue
                self._seen.add(stamp)
                try:
                    expert = load_card(path.parent)
                except SetupError as error:
                    self.problems += (str(error),)
                    continue
                self.known = tuple(sorted({*self.known, *expert.profiles}))
                if self.profile in expert.profiles:
                    found[expert.name] = expert
                else:
                    self.problems += (
                        f"{expert.name} has no weights for the profile {self.profile!r}; "
                        f"its card knows {', '.join(expert.profiles) or 'none'}.",
                    )
        return list(found.values())

    def _add(self, found: Iterable[Expert]) -> None:
        self.experts = tuple(sorted((*self.experts, *found), key=lambda e: (e.order, e.name)))

    @property
    def commands(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(expert.command for expert in self.experts))

    def of_command(self, command: str) -> tuple[Expert, ...]:
        return tuple(e for e in self.experts if e.command == command)

    def __getitem__(self, name: str) -> Expert:
        return next(e for e in self.experts if e.name == name)

    def named(self, name: str) -> Expert | None:
        return next((e for e in self.experts if e.name == name), None)

    def drawing(self, expert: Expert) -> Drawing:
        return expert.profiles[self.profile].drawing or expert.drawing

    def weights(self, expert: Expert) -> Weights:
        return _absolute(expert.folder, expert.profiles[self.profile])


def _absolute(folder: Path, chosen: Weights) -> Weights:
    return replace(
        chosen,
        base=pinned(known_as(_beside(folder, chosen.base)), chosen.base_revision),
        adapter=_beside(folder, chosen.adapter, there="/" not in chosen.adapter),
        vae=_beside(folder, chosen.vae),
        speed=_beside(folder, chosen.speed),
    )


def load_registry(roots: Iterable[Path], profile: str, *, learns: bool = False) -> Registry:
    registry = Registry.load(roots, profile, learns=learns)
    if registry.experts:
        return registry
    if registry.known:
        names = ", ".join(registry.known)
        raise SetupError(
            f"There is no profile {profile!r}: the cards know {names}. Set PASTICHE_PROFILE to one "
            "of these."
        )
    problems = " ".join(registry.problems)
    raise SetupError(f"There is no expert. pastiche experts add makes one. {problems}".rstrip())


def _beside(folder: Path, spec: str, *, there: bool = False) -> str:
    """Give a path beside the card if it is `there`; leave a hub id or an absolute path as it is."""
    if not spec:
        return ""
    if spec.startswith(("/", "~")):
        return str(Path(spec).expanduser())
    local = folder / spec
    return str(local) if there or local.exists() else spec

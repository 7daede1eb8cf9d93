"""The decision which expert answers, with its evidence: what the record keeps and `/why` tells."""

from dataclasses import dataclass

ROUTER_VERSION = "3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A card (or nobody) with its nearest example; `score` is a mean cosine."""

    expert: str
    example: str
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Words of the typed text that spoke for an expert: text[start:end]."""

    words: str
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    expert: str
    matches: tuple[Match, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The decision with its evidence; `runners_up` are the command's other experts, best first.
    `nearest` is what the semantic step saw, also where it abstained."""

    expert: str
    rule: str
    evidence: tuple[Match, ...]
    runners_up: tuple[Candidate, ...]
    router_version: str = ROUTER_VERSION
    nearest: tuple[Neighbour, ...] = ()

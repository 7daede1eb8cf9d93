"""Who can serve what: the name of a queue says medium, base, and what it is served with.

The last part of the name is a digest of the program's version and of all weights on that base, as
the cards name them. A bot puts a job into the queue of its own cards; a worker takes from the queues
of its own. So a worker with another version or other weights is never given a job that it would
answer otherwise than the bot expects, whatever order machines are upgraded in.
"""

import hashlib
import json
import re
from collections import ChainMap
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version as installed_version
from pathlib import Path

from engine.plan.cards import Expert, Registry
from engine.settings import Settings
from engine.weights.weight_files import digest_of

BASE_LETTERS = 24  # PostgreSQL's channels have 63 bytes; the rest is for words around it
MARK_LETTERS = 8
_UNSAFE = re.compile(r"[^a-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingFingerprint:
    """A process's cards as queues: expert to queue, queue to the weights behind it."""

    version: str
    queues: dict[str, str]
    weights: dict[str, dict[str, str]]

    def told(self, medium: str) -> str:
        """Name all that a worker of the medium serves with, in one line."""
        return " ".join(self.of_medium(medium))

    def of_medium(self, medium: str) -> list[str]:
        return sorted({q for q in self.queues.values() if q.startswith(f"{medium}.")})

    def agrees(self, other: "ServingFingerprint") -> bool:
        """Tell whether the experts that both know are served with the same weights."""
        ours, theirs = (dict(ChainMap(*one.weights.values())) for one in (self, other))
        return all(ours[name] == theirs[name] for name in ours.keys() & theirs.keys())


@cache
def program_version() -> str:
    return installed_version("pastiche")


def fingerprint_of(registry: Registry, settings: Settings) -> ServingFingerprint:
    """Name the queues of these cards. Reads an adapter's files only where its card gives no digest."""
    families: dict[str, list[Expert]] = {}
    for expert in registry.experts:
        base = expert.profiles[registry.profile].base
        families.setdefault(f"{expert.medium}.{safe(base)}", []).append(expert)
    queues: dict[str, str] = {}
    weights: dict[str, dict[str, str]] = {}
    for name, experts in families.items():
        parts = {expert.name: _weights(expert, registry) for expert in experts}
        whole = json.dumps([program_version(), settings.backend, name, parts], sort_keys=True)
        mark = hashlib.sha256(whole.encode()).hexdigest()[:MARK_LETTERS]
        queue = f"{name}.{mark}"
        weights[queue] = {expert: "; ".join(p for p in part if p) for expert, part in parts.items()}
        queues |= {expert.name: queue for expert in experts}
    return ServingFingerprint(version=program_version(), queues=queues, weights=weights)


def safe(base: str) -> str:
    """Make a base's name a part of a queue's: the end of a long one, which says most.

    >>> safe("stabilityai/stable-diffusion-xl-base-1.0")
    'le-diffusion-xl-base-1-0'
    """
    return _UNSAFE.sub("-", base.lower())[-BASE_LETTERS:].strip("-") or "base"


def _weights(expert: Expert, registry: Registry) -> list[str]:
    """List what decides how it answers: the same on every machine that has the same files."""
    card = expert.profiles[registry.profile]
    found = registry.weights(expert)
    digest = card.digest
    if card.adapter and not digest and Path(found.adapter).exists():
        digest = digest_of(Path(found.adapter))
    own = digest or card.adapter
    return [card.base, card.base_revision, own, card.revision, card.vae, card.speed]


def differs(ours: dict[str, str], theirs: dict[str, str]) -> str:
    names = [n for n in sorted(ours.keys() | theirs.keys()) if ours.get(n) != theirs.get(n)]
    return f"other weights for {', '.join(names)}" if names else "another version of the program"

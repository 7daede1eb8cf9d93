"""Which card a wish without a keyword is nearest to in meaning, and whether to say so at all.

Every card has examples (`[routing] examples`). A card is as near as its three nearest examples on
average; greetings, questions and wishes of no voice here (off_topic.txt) compete with the cards, so that
what is about nothing that anybody here writes goes to the default.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from engine.files import whole_file
from engine.plan.encoder import DIGEST, Encoder

if TYPE_CHECKING:
    import numpy as np

    from engine.plan.cards import Expert

log = logging.getLogger(__name__)

NOBODY = ""  # whose examples off_topic.txt holds
NEAREST = 3  # examples that a card is judged by
LEAVE_MARGIN = 0.02  # between the first two, for a card of another command than plain text means
MOST_READ = 600  # characters of a text; its end is seldom reached within the encoder's window
CACHE = "router.npz"


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbour:
    """A card (or nobody) with its nearest example; `score` is a mean cosine."""

    expert: str
    example: str
    score: float


def margin(found: Sequence[Neighbour]) -> float:
    return found[0].score - found[1].score if len(found) > 1 else 1.0


class Semantic:
    """Find neighbours. Without a sound encoder it finds none, and says why once, in the log.

    What the examples encode to lies in `home`, so that a start reads it; a new card's examples are
    encoded when they are first needed.
    """

    def __init__(self, home: Path | None = None, make: Callable[[], Encoder] = Encoder) -> None:
        self._cache = home / CACHE if home else None
        self._make: Callable[[], Encoder] | None = make
        self._encoder: Encoder | None = None
        self._vectors: Any = None  # by the example, once they are read
        self._lock = threading.Lock()

    def nearest(self, text: str, experts: Iterable["Expert"]) -> tuple[Neighbour, ...]:
        """Give every card that has examples, and nobody, the nearest first; () if there is nothing to
        choose between, or no way to."""
        known = {e.name: e.routing.examples for e in experts if e.routing.examples}
        text = text[:MOST_READ].strip()
        if not (known and text):
            return ()
        known[NOBODY] = off_topic()
        with self._lock:
            wish = self._encoded(text, known)
            if wish is None:
                return ()
            found = [_neighbour(name, wish, known[name], self._vectors) for name in known]
        return tuple(sorted(found, key=lambda n: -n.score))

    def _encoded(self, text: str, known: dict[str, tuple[str, ...]]) -> "np.ndarray | None":
        if self._make is None:
            return None
        try:
            self._encoder = self._encoder or self._make()
            if self._vectors is None:
                self._vectors = _read(self._cache)
            new = [e for examples in known.values() for e in examples if e not in self._vectors]
            if new:
                self._vectors |= zip(new, self._encoder.encode(new), strict=True)
                _write(self._cache, self._vectors)
            return self._encoder.encode([text])[0]  # type: ignore[no-any-return]
        except Exception as error:  # noqa: BLE001 - onnxruntime's own have no common base
            self._make = None
            why = f"{type(error).__name__}: no semantic routing; rules and the default go on"
            log.warning("the router's encoder cannot be used", extra={"why": why})
            return None


def _neighbour(
    name: str, wish: "np.ndarray", examples: tuple[str, ...], vectors: dict[str, Any]
) -> Neighbour:
    scores = sorted(((float(vectors[e] @ wish), e) for e in examples), reverse=True)
    first = scores[:NEAREST]
    mean = sum(score for score, _ in first) / len(first)
    return Neighbour(expert=name, example=first[0][1], score=round(mean, 4))


@cache
def off_topic() -> tuple[str, ...]:
    text = files("engine.plan").joinpath("off_topic.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def _read(path: Path | None) -> dict[str, Any]:
    """Read the examples' vectors; what is damaged, or another encoder's, is made anew."""
    import numpy as np

    try:
        if path is None or not path.is_file():
            return {}
        with np.load(path) as stored:
            if str(stored["digest"]) != DIGEST:
                return {}
            return dict(zip(stored["texts"].tolist(), stored["vectors"], strict=True))
    except (OSError, EOFError, ValueError, KeyError, BadZipFile):
        return {}


def _write(path: Path | None, vectors: dict[str, Any]) -> None:
    import numpy as np

    if path is None:
        return
    texts, rows = np.array(list(vectors)), np.array(list(vectors.values()))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as part, part.open("wb") as file:
            np.savez(file, digest=np.array(DIGEST), texts=texts, vectors=rows)
    except OSError as error:
        log.warning("the router's vectors cannot be kept", extra={"why": error.strerror})

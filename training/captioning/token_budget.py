"""How many tokens a text has for SDXL's two encoders, which read 75 and drop the rest unsaid."""

from functools import cache
from pathlib import Path
from typing import Any

import engine

USABLE = 75  # of 77: the first and the last are the encoders' own
TOKENIZERS = ("tokenizer", "tokenizer_2")


@cache
def clip_tokenizers() -> tuple[Any, Any]:
    """Load the tokenizers of SDXL's two text encoders, from the embedded image base."""
    from transformers import CLIPTokenizer

    folder = Path(engine.__file__).parent / "models" / "jewel-base"
    one, two = (CLIPTokenizer.from_pretrained(str(folder / name)) for name in TOKENIZERS)
    return one, two


def count(text: str) -> int:
    """Count a text's tokens without the encoders' own two; of the two counts the larger."""
    return max(
        len(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])
        for tokenizer in clip_tokenizers()
    )

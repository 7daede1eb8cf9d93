"""Compose two captions of a description: all of it, and the 75 tokens that SDXL's encoders read."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import engine
from training.captioning.description import Description
from training.errors import BadRecipe
from training.museum.harvest_recipe import CaptionTable

NOTHING = re.compile(
    r"^(none|no|n/?a|unknown|not (visible|applicable|known)|no (gem)?stones?( visible| present)?)$",
    re.IGNORECASE,
)
TOKEN = re.compile(r"\bTOK\b")
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


def compose(description: Description, prefix: str) -> str:
    """Everything that was said, the most visible first, behind the prefix."""
    return ", ".join((prefix, *parts_of(description)))


def require_prefix(table: CaptionTable) -> None:
    """Raise BadRecipe for a prefix that leaves no room for a caption."""
    tokens = count(table.prefix)
    if tokens > table.token_budget:
        raise BadRecipe(
            f"[caption] prefix alone has {tokens} tokens, more than token_budget "
            f"({table.token_budget}). Shorten it."
        )


def shorten(description: Description, prefix: str, limit: int) -> str:
    """Keep of the most visible parts the whole phrases that fit into `limit` tokens."""
    caption = prefix
    for part in parts_of(description):
        phrases = re.split(r"(?<=[,;:])\s+", part)
        ends = range(len(phrases), 0, -1)
        longer = (f"{caption}, {' '.join(phrases[:end]).rstrip(',;: ')}" for end in ends)
        caption = next((text for text in longer if count(text) <= limit), caption)
    return caption


def parts_of(description: Description) -> Iterator[str]:
    """List the description's parts in the order in which one sees them, without empty ones."""
    yield head(description)
    for text in (
        description.gemstones_and_settings,
        description.craftsmanship,
        description.style_and_history,
        description.condition,
    ):
        if (part := cleaned(text)) and not NOTHING.match(part):
            yield part


def head(description: Description) -> str:
    kind = cleaned(description.object_type) or "piece of jewellery"
    materials = [part for text in description.materials if (part := cleaned(text))]
    named = f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
    listed = " and ".join(filter(None, (", ".join(materials[:-1]), *materials[-1:])))
    return f"{named} of {listed}" if listed else named


def cleaned(text: str) -> str:
    """Write on one line, without a full stop at the end and the prefix's made-up word."""
    return " ".join(TOKEN.sub(" ", text).split()).strip(" .,;:")

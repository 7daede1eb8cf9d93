"""From a description to two captions: the full one, and one that the encoders read to its end."""

import re
from collections.abc import Callable, Iterator

from training.captioning.description import Description
from training.captioning.tables import CaptionTable
from training.captioning.token_budget import count
from training.errors import BadRecipe

NOTHING = re.compile(
    r"^(none|no|n/?a|unknown|not (visible|applicable|known)|no (gem)?stones?( visible| present)?)$",
    re.IGNORECASE,
)
TOKEN = re.compile(r"\bTOK\b")


def compose(description: Description, prefix: str) -> str:
    """Everything that was said, the most visible first, behind the prefix.

    >>> piece = Description(object_type="ring", materials=["gold", "enamel"], condition="worn",
    ...     craftsmanship="cast band", gemstones_and_settings="none", style_and_history="",
    ...     uncertain=[])
    >>> compose(piece, "a photo of a TOK piece")
    'a photo of a TOK piece, a ring of gold and enamel, cast band, worn'
    """
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
    """Keep the most visible parts that fit into `limit` tokens together with the prefix."""
    caption = prefix
    for part in parts_of(description):
        caption = longest(caption, part, lambda text: count(text) <= limit)
    return caption


def longest(caption: str, part: str, fits: Callable[[str], bool]) -> str:
    """Add as many whole phrases of a part as fit, perhaps none."""
    phrases = re.split(r"(?<=[,;:])\s+", part)
    for end in range(len(phrases), 0, -1):
        longer = f"{caption}, {' '.join(phrases[:end]).rstrip(',;: ')}"
        if fits(longer):
            return longer
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
    """Name the kind of object and what it is made of."""
    kind = cleaned(description.object_type) or "piece of jewellery"
    materials = [part for text in description.materials if (part := cleaned(text))]
    named = f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"
    if not materials:
        return named
    most, last = materials[:-1], materials[-1]
    return f"{named} of {', '.join(most)} and {last}" if most else f"{named} of {last}"


def cleaned(text: str) -> str:
    """One line, no full stop at the end, and without the prefix's made-up word.

    >>> cleaned("  A TOK ring,\\n of gold. ")
    'A ring, of gold'
    """
    return " ".join(TOKEN.sub(" ", text).split()).strip(" .,;:")

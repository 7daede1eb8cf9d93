"""How two blinded answers stand in one message: names out, cut alike, pictures side by side. Pure."""

import io
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from bot.messages.escape import discord_text
from bot.messages.split import DISCORD_LIMIT, TELEGRAM_LIMIT, utf16
from engine.events import Picture

GONE = "[…]"
GAP = 16  # pixels between two pictures
SPARE = 40  # characters of a message that stay free
TERMINAL_LIMIT = 100_000
# A model that speaks of itself tells which it is.
_ITSELF = re.compile(
    r"\b(?:as an AI(?: language model)?|(?:large )?language model|smol ?lm2?|gemma(?:[- ]?\d)?|llama"
    r"|chat ?gpt|stable diffusion|lora adapter)\b",
    re.I,
)


LIMITS: dict[str, tuple[int, Callable[[str], int]]] = {
    "discord": (DISCORD_LIMIT, lambda text: len(discord_text(text))),
    "telegram": (TELEGRAM_LIMIT, utf16),
}


@lru_cache(maxsize=32)
def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    forms: set[str] = set()
    for name in names:
        spoken = re.split(r"[\s.]+", name)
        forms.add(r"[\s.]*".join(re.escape(part) for part in spoken if part))
        last = spoken[-1]
        if len(last) > 3 and last[0].isupper():
            forms.add(re.escape(last))
    longest = sorted(forms, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(longest) or '(?!)'})(?!\w)", re.I)


def scrubbed(text: str, names: Iterable[str]) -> tuple[str, bool]:
    """Take the writers' names out of a text, and tell whether there was any.

    >>> scrubbed("Like H.P. Lovecraft, and as Christie would.", ("H. P. Lovecraft", "Agatha Christie"))
    ('Like […], and as […] would.', True)
    """
    without = _ITSELF.sub(GONE, _pattern(tuple(names)).sub(GONE, text))
    return without, without != text


def cut(text: str, most: int) -> str:
    """Cut to at most `most` characters, at the end of a word.

    >>> cut("It rained and rained.", 12)
    'It rained …'
    >>> cut("It rained and rained.", 10)
    'It …'
    """
    if len(text) <= most:
        return text
    head, rest = text[: max(0, most - 2)], text[max(0, most - 2) :]
    if head and not head[-1].isspace() and not rest[0].isspace():
        head = head.rsplit(None, 1)[0]
    return head.rstrip() + " …"


def fitted(
    head: str, one: str, two: str, labels: tuple[str, str], tail: str, platform: str
) -> tuple[str, dict[str, Any]]:
    """Fit both texts into one message, cut alike where there is no room; tell how, for the record."""
    limit, measure = LIMITS.get(platform, (TERMINAL_LIMIT, len))

    def whole(most: int) -> str:
        texts = (cut(one, most), cut(two, most))
        parts = [f"{label}\n{text}" for label, text in zip(labels, texts, strict=True)]
        return "\n\n".join([head, *parts, tail])

    lengths = [len(one), len(two)]
    sizes = range(1, max(lengths) + 1)
    most = bisect_right(sizes, limit - SPARE, key=lambda size: measure(whole(size)))
    shown = [len(cut(text, most)) for text in (one, two)]
    visible = {
        "form": "text",
        "platform": platform,
        "characters": lengths,
        "shown": shown,
        "trimmed": shown != lengths,
    }
    return whole(most), visible


def side_by_side(left: Picture, right: Picture, name: str) -> Picture:
    """Put both pictures into one, on white, marked as machine-made like any other."""
    from PIL import Image

    from engine.backends.png import png_of

    images = []
    for picture in (left, right):
        with Image.open(io.BytesIO(picture.data)) as opened:
            images.append(opened.convert("RGB"))
    height = max(image.height for image in images)
    width = sum(image.width for image in images) + GAP
    both = Image.new("RGB", (width, height), "white")
    both.paste(images[0], (0, 0))
    both.paste(images[1], (width - images[1].width, 0))
    return Picture(data=png_of(both, name), width=width, height=height, seed=left.seed)

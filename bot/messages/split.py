"""Long text in parts that a platform takes: cut between paragraphs, else sentences, else words. Pure.

A cut swallows the white space around it, and nothing else: the parts put together hold every other
character in its order. A letter keeps its marks, and an emoji its parts, unless a single one is too
long for a part by itself.
"""

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterator

DISCORD_LIMIT = 2000  # characters (code points)
TELEGRAM_LIMIT = 4096  # UTF-16 units
CAPTION_LIMIT = 1024  # UTF-16 units, below a Telegram photo
MAX_PARTS = 4  # more than these are a file

GAP = "\n\n"  # between paragraphs

Measure = Callable[[str], int]

_ENDS = (
    re.compile(r"\n[ \t]*\n\s*"),  # paragraphs
    re.compile(r"\n\s*"),  # lines
    re.compile(r"(?<=[.!?…。！？])[\"'”’»)\]]*\s+|(?<=[。！？])"),  # sentences
    re.compile(r"\s+"),  # words
)
_SHORTEST = (0.5, 0.5, 0.4, 0.0)  # a part that a cut leaves is at least this full
_JOINER = "\u200d"
_REGIONAL = range(0x1F1E6, 0x1F200)  # two of them make a flag
_SKIN = range(0x1F3FB, 0x1F400)  # tones, which follow a hand or a face


def joined(*texts: str) -> str:
    """Put paragraphs below each other, those that there are."""
    return GAP.join(filter(None, texts))


def utf16(text: str) -> int:
    """The length in UTF-16 code units, as Telegram counts.

    >>> utf16("a"), utf16("🕯")
    (1, 2)
    """
    return len(text) + sum(c > "\uffff" for c in text)


def split(text: str, limit: int, measure: Measure = len) -> list[str]:
    """Parts of at most `limit` by `measure`, none blank. No text, no part.

    `measure` must grow by one or two with each character. Raises ValueError for a limit below 2.

    >>> split("One. Two three.", 10)
    ['One.', 'Two three.']
    >>> split("It rained.\\n\\nNobody came.", 20)
    ['It rained.', 'Nobody came.']
    """
    if limit < 2:
        raise ValueError("a part holds at least two units")
    return list(_parts(text.strip(), limit, measure))


def as_file(text: str, limit: int, measure: Measure = len, most: int = MAX_PARTS) -> bool:
    """Say whether the text takes more than `most` parts, and so is better sent as a file."""
    return sum(1 for _ in itertools.islice(_parts(text.strip(), limit, measure), most + 1)) > most


def _parts(text: str, limit: int, measure: Measure) -> Iterator[str]:
    while text:
        if len(text) <= limit and measure(text) <= limit:
            yield text
            return
        cut = _cut(text, _fits(text, limit, measure))
        yield text[:cut].rstrip()
        text = text[cut:].lstrip()


def _fits(text: str, limit: int, measure: Measure) -> int:
    room = min(len(text), limit)
    while room > 1 and (over := measure(text[:room]) - limit) > 0:
        room -= (over + 1) // 2  # no fewer, for a character measures two at most
    return room


def _cut(text: str, room: int) -> int:
    """Cut after the last paragraph, line, sentence or word that fits into `room`."""
    for ends, fullness in zip(_ENDS, _SHORTEST, strict=True):
        cuts = [end.end() for end in ends.finditer(text[: room + 1])]
        while cuts and len(text[: cuts[-1]].rstrip()) > room:
            cuts.pop()
        if cuts and cuts[-1] >= fullness * room:
            return cuts[-1]
    cut = room
    while cut > 0 and not _between(text, cut):
        cut -= 1
    return cut or room


def _between(text: str, cut: int) -> bool:
    """Say whether a letter ends just before `cut`."""
    before, after = text[cut - 1], text[cut]
    if ord(before) in _REGIONAL and ord(after) in _REGIONAL:
        flags = itertools.takewhile(lambda c: ord(c) in _REGIONAL, reversed(text[:cut]))
        return sum(1 for _ in flags) % 2 == 0
    mark = unicodedata.category(after) in ("Mn", "Me", "Mc")
    return not (mark or _JOINER in (before, after) or ord(after) in _SKIN)

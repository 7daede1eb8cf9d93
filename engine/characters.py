"""The characters that may pass, from people and from models: what is seen, or holds together what is.

Left out: control characters but tab and line feed, directions, what has no width, private and broken
code points, and combining marks beyond what a script needs. A character that is newer than the
interpreter's tables stays. Joiners, variation selectors and tags stay where something is made of them:
an emoji, a flag, a Persian word.
"""

import re
import unicodedata

MAX_MARKS = 6  # combining marks upon one letter

_NONCHARACTERS = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_NEVER = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f"
    "\ufeff\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e001f\U000e0080-\U000e00ff\U000e01f0-\U000e0fff"
    f"\ud800-\udfff\ue000-\uf8ff\U000f0000-\U0010ffff\ufdd0-\ufdef{_NONCHARACTERS}]+"
)
_HALF = re.compile("[\ud800-\udfff]")
_MANY = re.compile(rf"[^\w\s\x00-\u02ff]{{{MAX_MARKS + 1},}}")  # marks are among them
_BOUND = re.compile(  # a whole flag of a region; joiners; selectors; loose tags
    "\U0001f3f4[\U000e0020-\U000e007e]{1,16}\U000e007f|[\u200c\u200d\ufe00-\ufe0f\U000e0020-\U000e007f"
    "\U000e0100-\U000e01ef]"
)
_SELECTORS = "\ufe00", "\ufe0f"
_ASCII_COMPOSED = "\u037e\u1fef\u212a"
_IDEOGRAPHS = "\u3400"  # and beyond
_EUROPEAN = re.compile("[A-Za-z\u00c0-\u058f\u1e00-\u1fff\u2126\u212a\u212b]")  # no form to select


def visible(text: str) -> str:
    """Take out what must not pass, and make every line break one line feed.

    >>> visible("a\\u202eb\\r\\nc\\x07\\x1b[2J")
    'ab\\nc[2J'
    """
    if text.isascii() and text.isprintable():
        return text
    for end in ("\r\n", "\r", "\u2028", "\u2029"):
        text = text.replace(end, "\n")
    text = _MANY.sub(_few, _NEVER.sub("", text))
    return _held(text) if _BOUND.search(text) else text


def well_formed(text: str) -> str:
    """Replace each half of a surrogate pair, which no file and no database takes.

    >>> well_formed("caf\\udce9")
    'caf\ufffd'
    """
    return _HALF.sub("\ufffd", text)


def _few(found: re.Match[str]) -> str:
    kept, marks = [], 0
    for c in found[0]:
        marks = marks + 1 if unicodedata.category(c) in ("Mn", "Me") else 0
        if marks <= MAX_MARKS:
            kept.append(c)
    return "".join(kept)


def _held(text: str) -> str:
    parts: list[str] = []
    place, before = 0, ""
    for found in _BOUND.finditer(text):
        parts.append(text[place : found.start()])
        place = found.end()
        before = parts[-1][-1:] or before
        if len(found[0]) > 1 or _belongs(before, found[0], text[place : place + 1]):
            parts.append(found[0])
            before = found[0][-1]
    return "".join((*parts, text[place:]))


def _belongs(before: str, c: str, after: str) -> bool:
    if c in "\u200c\u200d":
        return _far(before) and _far(after) and not _BOUND.match(after)
    if _SELECTORS[0] <= c <= _SELECTORS[1]:
        alone = not before or before.isspace() or _SELECTORS[0] <= before <= _SELECTORS[1]
        return not (alone or _EUROPEAN.match(before))
    return c >= "\U000e0100" and _IDEOGRAPHS <= before < "\U000e0000"


def _far(c: str) -> bool:
    """Tell whether it may be joined: beyond ASCII, and no space."""
    return bool(c) and not (c.isascii() or c in _ASCII_COMPOSED or c.isspace())

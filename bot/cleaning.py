"""Text as it goes on from the edge: composed, visible, bounded. Pure."""

import unicodedata
from collections.abc import Iterator

from engine.errors import LimitError

MAX_TEXT = 20_000  # characters; more is refused before anything is looked at
MAX_MARKS = 6  # combining marks upon one letter

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn"})
_JOINER = "\u200d"  # holds emoji together
_BLANKS = "\u200d\u115f\u1160\u2800\u3164\uffa0"  # letters to Unicode, nothing to the eye


def clean(text: str) -> str:
    """Text as it goes on from here: NFC, no control, bidirectional or invisible characters.

    Raises LimitError for more than MAX_TEXT characters, before looking at any.

    >>> clean("a\\u202eb\\r\\nc\\x00 ")
    'ab\\nc'
    """
    if len(text) > MAX_TEXT:
        raise too_long()
    # Bounded first: ordering thousands of marks on one letter takes seconds.
    text = "".join(_bounded(text.replace("\r\n", "\n").replace("\r", "\n")))
    return unicodedata.normalize("NFC", text).strip()


def too_long() -> LimitError:
    """What is said of a text beyond MAX_TEXT."""
    return LimitError(
        f"I read at most {MAX_TEXT:,} characters at a time. Please send the last part of your text."
    )


def _bounded(text: str) -> Iterator[str]:
    """The characters that can be seen, and no more marks upon one letter than any script needs."""
    marks = 0
    for c in text:
        marks = marks + 1 if unicodedata.combining(c) else 0
        seen = c in "\n\t" or c == _JOINER or unicodedata.category(c) not in _UNSEEN
        if seen and marks <= MAX_MARKS:
            yield c


def shows(text: str) -> bool:
    """Whether there is anything in it to see.

    >>> shows(" \\u2800\\n"), shows("!")
    (False, True)
    """
    return any(c.isprintable() and not c.isspace() and c not in _BLANKS for c in text)

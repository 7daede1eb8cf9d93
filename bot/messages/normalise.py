"""Text as it goes on from the edge: composed, visible, bounded. Pure."""

import unicodedata

from bot.locales import words
from engine.characters import visible
from engine.errors import LimitError

MAX_TEXT = 20_000  # characters; more is refused before anything is looked at

_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co"})
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"  # letters to Unicode, nothing to the eye


def clean(text: str) -> str:
    """Text as it goes on from here: NFC, no control, bidirectional or invisible characters.

    Raises LimitError for more than MAX_TEXT characters, before looking at any.

    >>> clean("a\\u202eb\\r\\nc\\x00 ")
    'ab\\nc'
    """
    if len(text) > MAX_TEXT:
        raise too_long()
    # Bounded first: ordering thousands of marks on one letter takes seconds.
    return unicodedata.normalize("NFC", visible(text)).strip()


def too_long() -> LimitError:
    return LimitError(words("typing.long", most=f"{MAX_TEXT:,}"))


def shows(text: str) -> bool:
    """Whether there is anything in it to see.

    >>> shows(" \\u2800\\n"), shows("!")
    (False, True)
    """
    seen = (c for c in text if not c.isspace() and c not in _BLANKS)
    return any(unicodedata.category(c) not in _UNSEEN for c in seen)

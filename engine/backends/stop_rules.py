"""Where an answer ends: at a sentence's end near its length. Pure.

From EARLY of the length on, the first finished sentence ends the answer. A model writes the space with
the word that follows, so it is the start of a next word that closes a sentence; that start is left out.
If no sentence ends, the answer may run a third over; then it is cut at a word and marked with an
ellipsis. Past its length it may end amid what somebody says, whose quotation mark is then closed. Text
that was shown is never taken back, so only whole words are.
"""

import re

EARLY = 0.9
NOT_A_START = " \t\n.,;:!?*"  # an answer that is shown by itself does not begin with these
HALF, HALF_MOST = "\ufffd", 3  # a letter of up to four bytes decodes so until its last is there
LOOSE = " \t\n,;:—–-"
LATE_SHARE, LATE_LEAST, LATE_MOST = 0.33, 30, 80  # of the length; tokens; tokens
NO_END = 0.6  # before this share of the length the model may not end the answer itself

# Closed by what follows: whitespace after the mark tells "end." from "3.5" and from an open quote.
_ENDS, _CLOSERS = ".!?…", "\"'”’)]"
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|St|Prof|Rev|Capt|Col|Sgt|Lt|No|vs|[A-Z])\Z")


def legible(text: str) -> str:
    """Give what can be read of the text decoded so far: it begins with a word, and half a letter at
    its end waits for the rest.

    >>> legible(". The \N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}")
    'The '
    """
    for _ in range(HALF_MOST):
        text = text.removesuffix(HALF)
    return text.lstrip(NOT_A_START)


def open_quotes(text: str) -> int:
    """Count the curly quotation marks that are open in the last paragraph; one closed alone is -1.

    >>> open_quotes("“Go.\\n“Go!” he said. “Now"), open_quotes("Now.”")
    (1, -1)
    """
    paragraph = text.rsplit("\n", 1)[-1]
    return paragraph.count("“") - paragraph.count("”")


def _closed(text: str) -> str:
    if open_quotes(text) > 0:
        return f"{text}”"
    return f'{text}"' if text.rsplit("\n", 1)[-1].count('"') % 2 else text


def ends_sentence(text: str, late: bool = False) -> bool:
    """Tell whether the text has just left a finished sentence behind; not amid a quotation, but `late`.

    >>> ends_sentence("The lamp went out. ")
    True
    >>> ends_sentence("The lamp went out."), ends_sentence("He saw Mr. ")
    (False, False)
    >>> ends_sentence("“Who is there? "), ends_sentence("“Who is there?” ")
    (False, True)
    >>> ends_sentence("“Who is there? ", late=True)
    True
    """
    said = text.rstrip()
    closed = said.rstrip(_CLOSERS)
    words = closed.rstrip(_ENDS)
    if said == text or words == closed or _ABBREVIATION.search(words[-8:]):
        return False
    return late or _closed(said) == said


def latest(length: int) -> int:
    """Count the tokens at which an answer of the length is cut, sentence or not.

    >>> latest(16), latest(120), latest(1000)
    (46, 159, 1080)
    """
    return length + min(LATE_MOST, max(LATE_LEAST, int(length * LATE_SHARE)))


def should_stop(text: str, tokens: int, length: int) -> bool:
    """Tell whether the answer ends here, `tokens` being how many it has.

    >>> should_stop("The lamp went out. Th", 18, 20), should_stop("The lamp went out. Th", 17, 20)
    (True, False)
    >>> should_stop("It cost 3.", 18, 20)
    False
    """
    return tokens >= latest(length) or _ended(text, tokens, length)


def _ended(text: str, tokens: int, length: int) -> bool:
    return tokens >= length * EARLY and ends_sentence(_words(text), tokens > length)


def settled(text: str) -> str:
    """Give the part of a growing text to show: whole words, no loose punctuation at its end.

    >>> settled("The lamp, it went and the doo")
    'The lamp, it went and the'
    >>> settled("The lamp, "), settled("The")
    ('The lamp', '')
    """
    whole = text.rstrip() if text[-1:].isspace() else text[: _last_space(text)]
    return whole.rstrip(LOOSE)


def _words(text: str) -> str:
    return text[: _last_space(text) + 1]


def _last_space(text: str) -> int:
    places = range(len(text) - 1, -1, -1)
    return next((place for place in places if text[place].isspace()), 0)


def finish(text: str, tokens: int, length: int) -> str:
    """Give the answer as shown: no loose whitespace, a cut marked, quotations closed. It begins with
    what was settled.

    >>> finish("The lamp went out. ", 20, 20)
    'The lamp went out.'
    >>> finish("The lamp went and the doo", 80, 20)
    'The lamp went and the…'
    >>> finish("The lamp went out. The", 20, 20), finish("The lamp went out.", 80, 20)
    ('The lamp went out.', 'The lamp went out.')
    >>> finish("“The lamp went out. The", 22, 20), finish("“The lamp we", 80, 20)
    ('“The lamp went out.”', '“The lamp…”')
    """
    if _ended(text, tokens, length):
        return _closed(_words(text).strip())
    if tokens >= latest(length) and not ends_sentence(f"{text} ", late=True):
        return _closed(f"{settled(text) or text.strip()}…")
    return _closed(text.strip())

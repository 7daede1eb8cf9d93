"""Text as it comes in: composed, visible, bounded; and whether it reads as English. Pure."""

import re
import unicodedata
from functools import cache

from bot.locales import languages, words
from engine.characters import visible
from engine.errors import LimitError

MAX_TEXT = 20_000  # characters; more is refused before anything is looked at
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co"})
_BLANKS = "\u115f\u1160\u2800\u3164\uffa0"  # letters to Unicode, nothing to the eye
LONGEST_GREETING = 60  # characters
_MARKS = re.compile(r"[^\w\s']+")
FEWEST = 5  # words; less says nothing
_ENGLISH = frozenset(
    """the a an and or but of to in on at for with from by is are was were be been he she it they we you
    i his her their my your that this which who not no as if then when while there so what how do does
    did had has have will would could can about into after before over under one two me him them
    """.split()  # noqa: SIM905 - readable
)
_OTHERS = {
    "it": "il lo la gli le un una di che e è per con non del della dei delle nel nella sono era come "
    "più ma anche",
    "es": "el los las una y que en por para con no es era como más pero su sus del al se",
    "fr": "le les des une et est dans pour avec pas sur qui que ne ce cette il elle nous vous au aux du",
    "de": "der die das ein eine und ist nicht mit von zu den dem im für auf sich war wie aber auch",
    "pt": "o os as um uma e do da dos das em não com para é foi",
    "nl": "de het een en van is niet met op voor zijn dat",
}
_FOREIGN = {code: frozenset(said.split()) - _ENGLISH for code, said in _OTHERS.items()}
MOST_TOLD = 2_000  # characters that tell a language


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


def language_of_text(text: str) -> str:
    """Name the language: "en" also where too little was written to tell, "und" where the script or the
    words say only that it is not English.

    >>> language_of_text("una storia di un faro nella nebbia che non torna"), language_of_text("Hm.")
    ('it', 'en')
    >>> language_of_text("Жил-был на свете старый маяк.")
    'und'
    """
    letters = [c for c in text[:MOST_TOLD] if c.isalpha()]
    foreign = sum("LATIN" not in unicodedata.name(c, "") for c in letters)
    if letters and foreign / len(letters) > 0.5:
        return "und"
    words = re.findall(r"[^\W\d_]+", text[:MOST_TOLD].lower())
    english = sum(word in _ENGLISH for word in words)
    others = sum(any(word in known for known in _FOREIGN.values()) for word in words)
    if len(words) < FEWEST or others <= english or others < 2:
        return "en"
    counts = {code: sum(word in known for word in words) for code, known in _FOREIGN.items()}
    best = [code for code, count in counts.items() if count == max(counts.values())]
    return best[0] if len(best) == 1 else "und"


def greets(text: str) -> bool:
    """Whether the whole text greets, or asks about the bot itself, in any language; a story's wish or
    opening is never taken for one, since no part of a text is looked at alone.

    >>> greets("Hello, bot!"), greets("?"), greets("Ciao, cosa sai fare?")
    (True, True, True)
    >>> greets("Hello, said the bear."), greets("What can you do about a bear?")
    (False, False)
    """
    said = " ".join(_MARKS.sub(" ", text[:LONGEST_GREETING].casefold().replace("’", "'")).split())
    marks_alone = set(text) <= set(" ?!.")
    return len(text) <= LONGEST_GREETING and (marks_alone or said in _greetings())


@cache
def _greetings() -> frozenset[str]:
    return frozenset(
        line for code in languages() for line in words("talk.greetings", code).splitlines() if line
    )

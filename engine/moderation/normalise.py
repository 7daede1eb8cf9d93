"""Text as a reader hears it: look-alike letters, digits for letters, spacing and marks undone. Pure.

Only for matching; what was written stays as it is. Letters of other alphabets that look like Latin
ones follow Unicode's confusables (UTS 39), cut down to the common ones.
"""

import re
import unicodedata
from collections.abc import Iterator

_LOOKS = {
    "a": "аαɑ@4ａ", "b": "Ьвβ8ｂ", "c": "сϲ¢ｃ", "d": "ԁɗｄ", "e": "еє℮ε3ҽｅ", "f": "ғƒｆ",
    "g": "ɡԍ9ｇ", "h": "һнｈ", "i": "іıι1!|ｉ", "j": "јϳｊ", "k": "кκｋ", "l": "ӏⅼｌ", "m": "мｍ",
    "n": "пոηｎ", "o": "оοσ0ѳ°ｏ", "p": "рρｐ", "q": "ԛｑ", "r": "гｒ", "s": "ѕꜱ5$ｓ", "t": "тτ7+ｔ",
    "u": "υսμｕ", "v": "ѵνｖ", "w": "ԝшωｗ", "x": "хχ×ｘ", "y": "уүγｙ", "z": "ʐｚ2",
}  # fmt: skip
_SMALL = "ᴀʙᴄᴅᴇꜰɢʜɪᴊᴋʟᴍɴᴏᴘꞯʀꜱᴛᴜᴠᴡxʏᴢ"  # small capitals, a to z
_ALPHABETS = (0x1F150, 0x1F170, 0x1F1E6)  # A of the negative circled, squared and regional letters
_LETTER = {ord(look): letter for letter, looks in _LOOKS.items() for look in looks}
_TABLE = {
    ord(look): letter for look, letter in zip(_SMALL, "abcdefghijklmnopqrstuvwxyz", strict=True)
}
_TABLE |= {look: letter for look, letter in _LETTER.items() if chr(look).isalpha()}
_SIGN = re.compile("[" + re.escape("".join(c for c in map(chr, _LETTER) if not c.isalpha())) + "]")
_TABLE |= {start + n: chr(ord("a") + n) for start in _ALPHABETS for n in range(26)}
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f]+")
_FILLERS = "\u115f\u1160\u3164\uffa0"  # letters without a form
_NUMBER = re.compile(  # "14", "1,000", "14yo": a number, not letters in disguise
    r"((?<![^\W_])[\d.,:/]+(?![^\W_])|(?<![^\W_])\d{1,2}(?=y[\W_]?[o0оο]\b|yrs?\b))"
)
_WITHIN = re.compile(  # what stands within a word, and the end of a line there
    r"(?<=[^\W\d_])(?:[-‐‑–.·•|_*~/\\]{1,2}\n?|\n)(?=[^\W\d_])"
)
_LONE = re.compile(r"(?<!\w)\w(?:[^\w\s]{1,2}\w(?!\w)|_{1,2}\w(?![^\W_])){2,}")  # b-o-m-b
_SPACED = re.compile(r"(?<!\w)\w(?:\s{1,8}\w(?!\w)){2,}")  # b o m b
_WIDE = re.compile(r"\s{2,}|\n")
_REPEATED = re.compile(r"(\w)\1{2,}")
_DOUBLED = frozenset(  # words of the rules with two of a letter
    """kill killing painless assemble assembling tell will wanna feel feeling need teen teens preteen
    school schoolgirl schoolboy small cutting cook cooking suppressor suppressors all slitting really
    """.split()  # noqa: SIM905 - readable
)

STRETCH, OVERLAP = 3_000, 600  # characters that are folded at a time, and of them twice


def spellings(text: str) -> Iterator[str]:
    """Read a text in each way, stretch by stretch: lower-case Latin words, one space between them.

    A stretched letter is one or two of it; a sign within a word parts it or does not.

    >>> list(spellings("Hοw tο mаke а B0MB!!"))
    ['how to make a bomb']
    >>> list(spellings("a 14-year-old boooy"))[:3]
    ['a 14 year old booy', 'a 14 year old boy', 'a 14 yearold booy']
    """
    for stretch in _stretches(text):
        letters = _letters(stretch)
        ways = dict.fromkeys((letters, _WITHIN.sub("", letters)))
        short = (re.sub(r"[\W_]+", " ", s) for way in ways for s in _shortened(_folded(way)))
        yield from dict.fromkeys(" ".join(words.split()) for words in short)


def _stretches(text: str) -> Iterator[str]:
    """Cut a long text into parts that overlap, so that what stands together is met together."""
    start = 0
    while len(text) - start > STRETCH:
        yield text[start : start + STRETCH]
        start += STRETCH - OVERLAP
    yield text[start:]


def _letters(text: str) -> str:
    """Leave out what is not seen, and write the rest in the letters that it looks like."""
    if text.isascii():
        return _UNSEEN.sub("", text).lower()
    seen = (c for c in unicodedata.normalize("NFKD", text) if _seen(c))
    return "".join(seen).translate(_TABLE).lower()


def _seen(c: str) -> bool:
    unseen = unicodedata.category(c) in ("Mn", "Me", "Cf", "Cc") or c in _FILLERS
    return not unseen or c in "\n\t"


def _folded(text: str) -> str:
    parts = _NUMBER.split(text)  # every other one is a number
    parts[::2] = map(_latin, parts[::2])
    text = "".join(parts)
    return _SPACED.sub(_spaced, _LONE.sub(lambda found: _together(found[0]), text))


def _shortened(text: str) -> Iterator[str]:
    """Write two of each stretched letter; then as many as the word has, if we know it, else one."""
    yield _REPEATED.sub(r"\1\1", text)
    if _REPEATED.search(text):
        yield " ".join(_known(word) for word in text.split())


def _known(word: str) -> str:
    twice = _REPEATED.sub(r"\1\1", word)
    return twice if twice in _DOUBLED else _REPEATED.sub(r"\1", word)


def _latin(text: str) -> str:
    """Make signs letters only inside words: "b0mb", and not "stop!"."""
    return _SIGN.sub(_as_letter, text)


def _as_letter(found: re.Match[str]) -> str:
    sign, text, place = found[0], found.string, found.start()
    before = place > 0 and text[place - 1].isalnum()
    after = place + 1 < len(text) and text[place + 1].isalnum()
    is_letter = (before or after) if sign.isdigit() else (before and after)
    return _LETTER[ord(sign)] if is_letter else sign


def _spaced(found: re.Match[str]) -> str:
    """Join letters with spaces between: wider ones, where there are any, part the words."""
    words = _WIDE.split(found[0])
    return _together(words[0]) if len(words) == 1 else " ".join(map(_run, words))


def _together(spelled: str) -> str:
    letters = _run(spelled)
    if not letters or letters.isdigit():
        return spelled
    # "a b o m b" is two words
    return f"{letters} {letters[1:]}" if len(letters) > 2 and letters[0] in "ai" else letters


def _run(spelled: str) -> str:
    return _latin(re.sub(r"[\W_]", "", spelled))

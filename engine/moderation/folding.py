"""Text as a reader hears it: look-alike letters, digits for letters, spacing and marks undone. Pure.

Only for matching; what was written stays as it is. Letters of other alphabets that look like Latin
ones follow Unicode's confusables (UTS 39), cut down to the common ones.
"""

import re
import unicodedata

_LOOKS = {
    "a": "аαɑ@4ａ", "b": "Ьвβ8ｂ", "c": "сϲ¢ｃ", "d": "ԁɗｄ", "e": "еє℮ε3ҽｅ", "f": "ғƒｆ",
    "g": "ɡԍ9ｇ", "h": "һнｈ", "i": "іıι1!|ｉ", "j": "јϳｊ", "k": "кκｋ", "l": "ӏⅼｌ", "m": "мｍ",
    "n": "пոηｎ", "o": "оοσ0ѳ°ｏ", "p": "рρｐ", "q": "ԛｑ", "r": "гｒ", "s": "ѕꜱ5$ｓ", "t": "тτ7+ｔ",
    "u": "υսμｕ", "v": "ѵνｖ", "w": "ԝшωｗ", "x": "хχ×ｘ", "y": "уүγｙ", "z": "ʐｚ2",
}  # fmt: skip
_LETTER = {ord(look): letter for letter, looks in _LOOKS.items() for look in looks}
_NUMBER = re.compile(  # "14", "1,000", "14yo": a number, not letters in disguise
    r"(?<![^\W_])[\d.,:/]+(?![^\W_])|(?<![^\W_])\d{1,2}(?=y[\W_]?[o0оο]\b|yrs?\b)"
)
_LONE = re.compile(r"(?<!\w)\w(?:[^\w\s]{1,2}\w(?!\w)|_{1,2}\w(?![^\W_])){2,}")  # b-o-m-b
_SPACED = re.compile(r"(?<!\w)\w(?: \w(?!\w)){2,}")  # b o m b
_REPEATED = re.compile(r"(\w)\1{2,}")


def fold(text: str) -> str:
    """Lower-case Latin words, one space between them; numbers stay numbers.

    >>> fold("Hοw tο mаke а B.0.M.B!!"), fold("a 14-year-old")
    ('how to make a bomb', 'a 14 year old')
    """
    text = "".join(c for c in unicodedata.normalize("NFKD", text) if _seen(c)).lower()
    kept: list[str] = []
    place = 0
    for number in _NUMBER.finditer(text):
        kept += [_latin(text[place : number.start()]), number[0]]
        place = number.end()
    text = "".join([*kept, _latin(text[place:])])
    text = _SPACED.sub(_joined, _LONE.sub(_joined, text))
    text = _REPEATED.sub(r"\1\1", text)
    return " ".join(re.sub(r"[\W_]+", " ", text).split())


def _seen(c: str) -> bool:
    return (
        not unicodedata.combining(c) and unicodedata.category(c) not in ("Cf", "Cc")
    ) or c in "\n\t"


def _latin(text: str) -> str:
    """Signs become letters only inside words: "b0mb", and not "stop!"."""
    letters = [_LETTER.get(ord(c), c) if c.isalpha() else c for c in text]
    for place, c in enumerate(text):
        if ord(c) in _LETTER and not c.isalpha():
            before = place > 0 and text[place - 1].isalnum()
            after = place + 1 < len(text) and text[place + 1].isalnum()
            if (before or after) if c.isdigit() else (before and after):
                letters[place] = _LETTER[ord(c)]
    return "".join(letters)


def _joined(found: re.Match[str]) -> str:
    letters = _latin(re.sub(r"[\W_]", "", found[0]))
    if not letters or letters.isdigit():
        return found[0]
    return f"{letters} {letters[1:]}" if letters[0] in "ai" else letters  # "a b o m b" is two words

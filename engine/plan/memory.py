"""What a story is told beside its end: a synopsis of what lies too far back, and people's notes. Pure.

The synopsis is extractive: sentences of the story as they stand, so that nothing is made up. It grows
with what a window drops: of the sentences that it held and those that are dropped now, those stay whose
people and things the story speaks of most; the story's first sentence always does.
"""

import re
from collections import Counter

LONGEST = 900  # characters of a synopsis
SHORTEST_SENTENCE, LONGEST_SENTENCE = 25, 240  # a fragment tells little, a rant too much
MOST_NOTES = 20
_END = re.compile(
    r"(?<![.!?…])(?<!\b[A-Z])(?<!\b(?:Mr|Dr|St|vs))(?<!\b(?:Mrs|e\.g|i\.e))[.!?…]++[”\"’')]{0,2}(?=\s|$)|\n"
)
_WORD = re.compile(r"[^\W\d_]+")
COMMON = 5  # letters; a shorter word counts only where it is a name


def condensed(synopsis: str, dropped: str, ahead: str) -> str:
    """Make the new synopsis from the old one and what a window drops; `ahead` is what it still holds.

    >>> condensed("", "Mrs. Lane kept the lighthouse of Arkham. It rained. So.", "Mrs. Lane laughed.")
    'Mrs. Lane kept the lighthouse of Arkham.'
    """
    held = _sentences(synopsis)
    found = list(dict.fromkeys([*held, *_sentences(dropped)]))
    counts = Counter(_said(f"{synopsis} {dropped} {ahead}"))
    weight = {
        one: sum(counts[word] for word in set(_said(one))) / (8 + one.count(" ")) for one in found
    }
    room, kept = LONGEST, set[str]()
    for one in found[:1] + sorted(found[1:], key=lambda one: -weight[one]):
        if len(one) < room:
            kept.add(one)
            room -= len(one) + 1
    return " ".join(one for one in found if one in kept)


def _sentences(text: str) -> list[str]:
    found, start = [], 0
    for end in _END.finditer(text):
        sentence = " ".join(text[start : end.end()].split())
        start = end.end()
        whole = sentence[:1].isupper() or sentence[:1] in "“\"'‘¿¡"  # else the window cut it
        if whole and SHORTEST_SENTENCE <= len(sentence) <= LONGEST_SENTENCE:
            found.append(sentence)
    return found


def _said(text: str) -> list[str]:
    return [word for word in _WORD.findall(text) if len(word) >= COMMON or word[0].isupper()]


def noted(notes: tuple[str, ...], note: str) -> tuple[str, ...]:
    return (*(one for one in notes if one != note), note)


def told(template: str, synopsis: str, notes: tuple[str, ...]) -> tuple[str, str]:
    """Give the two parts of a prompt, each empty or ended by an empty line; a note is a line.

    >>> told("Note: {note}\\n", "It rained.", ("a", "{note}"))
    ('It rained.\\n\\n', 'Note: a\\nNote: {note}\\n\\n')
    """
    lines = [template.replace("{note}", " ".join(note.split())) for note in notes]
    return synopsis and f"{synopsis}\n\n", "".join([*lines, "\n"]) if lines else ""

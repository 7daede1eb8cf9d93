"""Turn prose into answers to wishes, so that an adapter learns to hear what is asked for. Pure.

A passage's subjects are things, names and places that it comes back to after its first sentence, those
first that it says often and other passages seldom; no model finds them, so endings of verbs and of what
nobody sees are left out. They are put into wishes of many forms.
People get other names in every passage, those that the wish names too, lest the corpus's own walk into
every story. A share of the passages continues its own beginning, as before.
"""

import math
import random
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from engine.plan.prompt import BEGINNING_LINE, assemble
from training.text.data.works import Work

LEAST_WORDS, MOST_WORDS = 110, 260  # of a passage
BEGINNINGS, BOTH = 0.3, 0.15  # of the passages: go on from a beginning alone; from one and a wish
STYLED, NAMED = 0.4, 0.35  # of the wishes: name the style; name a person
MOST = 4  # subjects of a wish
NOUNS = 0.25  # of a noun's places look like a noun's
ROUNDS = 2  # wishes for each passage that is trained on

WORDS = tomllib.loads(Path(__file__).with_name("wish_forms.toml").read_text(encoding="utf-8"))
WOMEN, MEN, SURNAMES = WORDS["women"], WORDS["men"], WORDS["surnames"]
NO_NAMES = frozenset(WORDS["no_names"])

PRONOUNS = {"she": 1, "her": 1, "he": -1, "his": -1, "him": -1}
NEAR = 15  # words

WORD = re.compile(r"[A-Za-zé]+")
SENTENCE_END = re.compile(r"(?<=[.!?])(?<!\bMr\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bMrs\.)[”\"’]?(?=\s)")
ENDS = (*".!?…—", "”", '"', "’")
FURNITURE = re.compile(r"copyright|©|illustration|\*|\[|^chapter\b|^[IVXLC]+\.?$|https?:", re.I)
NOUN = re.compile(
    r"\b(?:the|an?|his|her|my|their|our)\s(?:[a-z]{3,}\s)?([a-z]{4,})"
    r"(?=[,.;:!?]|\s(?:of|was|were|is|in|on|at|that|which|who|had|to|with|for|from|as|by)\b)"
)
ABSTRACT = re.compile(
    r"(?:ed|ing|ly|ness|[st]ion|ity|ment|[ae]nce|ism|some|ful|ive|al|ous|er|est|ure|ude|cy)s?$"
)
PLACE = re.compile(r"\b(?:in|at|to|from|near)\s([A-Z][a-z]{3,})\b")
NAME = re.compile(r"\b[A-Z][a-zé]{2,}\b")
TITLED = re.compile(
    r"\b(?:Mr|Mrs|Miss|Ms|Dr|Doctor|Sir|Lady|Lord|Colonel|Captain|Major|Inspector|Professor|Monsieur"
    r"|Madame|Mademoiselle|M|Prof|Herr|Count)\b\.?\s([A-Z][a-zé]{2,})\b(?!\s[A-Z])"
)
SAYS = r"(?:said|asked|replied|cried|answered|murmured|remarked|exclaimed|returned|observed)"
SPEAKER = re.compile(rf"\b{SAYS}\s([A-Z][a-zé]{{2,}})\b|\b([A-Z][a-zé]{{2,}})\s{SAYS}\b")
FULL = re.compile(r"\b([A-Z][a-zé]{2,})\s([A-Z][a-zé]{2,})\b")


@dataclass(frozen=True)
class People:
    """Know which words of a corpus are people's names: surnames, women's, men's."""

    texts: Sequence[str]

    @cached_property
    def known(self) -> dict[str, Sequence[str]]:
        words = [word for text in self.texts for word in WORD.findall(text)]
        counts = Counter(words)
        titled = {n for text in self.texts for n in TITLED.findall(text)}
        said = {a or b for text in self.texts for a, b in SPEAKER.findall(text)}
        pairs = {pair for text in self.texts for pair in FULL.findall(text)}
        surnames = titled | {last for first, last in pairs if first in said and last not in said}
        given = (said | {first for first, last in pairs if last in surnames}) - surnames
        she = Counter[str]()  # a woman's name is followed by her pronoun more often than by his
        for place, word in enumerate(words):
            if word in given:
                near = next((w for w in words[place : place + NEAR] if w in PRONOUNS), "")
                she[word] += PRONOUNS.get(near, 0)
        found: dict[str, Sequence[str]] = dict.fromkeys(surnames, SURNAMES)
        found |= {name: WOMEN if she[name] > 0 else MEN for name in given}
        proper = (n for n in found if 5 * counts[n.lower()] <= counts[n] and n not in NO_NAMES)
        return {name: found[name] for name in proper}

    def renamed(self, text: str, draw: random.Random) -> str:
        """Give everybody in a passage another name, the same one throughout it."""
        new: dict[str, str] = {}

        def other(found: re.Match[str]) -> str:
            pool = self.known.get(found[0])
            if pool is None:
                return found[0]
            free = [name for name in pool if name not in new.values()]
            return new.setdefault(found[0], draw.choice(free or list(pool)))

        return NAME.sub(other, text)


def passages(work: Work) -> Iterator[str]:
    """Join paragraphs to passages of a story's length, without headings and furniture."""
    kept: list[str] = []
    for paragraph in work.paragraphs:
        if FURNITURE.search(paragraph) or not paragraph.rstrip().endswith(ENDS):
            continue
        kept.append(paragraph)
        if (size := len(" ".join(kept).split())) >= LEAST_WORDS:
            if size <= MOST_WORDS:
                yield "\n\n".join(kept)
            kept = []


def subjects(text: str, rarity: dict[str, float]) -> list[str]:
    """Find the things and places that a wish for this passage would name: first what it says often,
    and other passages seldom.

    >>> text = "It was late. He took the brass lamp, and went to Paris with the lamp."
    >>> subjects(text, {"lamp": 2.0, "paris": 1.0})
    ['lamp', 'Paris']
    """
    start = found.end() if (found := SENTENCE_END.search(text)) else 0
    told = {*NOUN.findall(text, start), *PLACE.findall(text, start)} - NO_NAMES
    told = {w for w in told if w[0].isupper() or not ABSTRACT.search(w)}
    said = Counter(WORD.findall(text[start:].lower()))
    weight = {
        w: rarity.get(w.lower(), 0.0) * (said[w.lower()] + said[f"{w.lower()}s"]) for w in told
    }
    return sorted((w for w in told if weight[w] > 0), key=lambda word: (-weight[word], word))


def answers(
    works: Sequence[Work], template: str, styles: Sequence[str], seed: int, rounds: int = ROUNDS
) -> Iterator[Work]:
    """Make the answers of a split; `styles` are the names by which a wish may ask for the author."""
    people = People([work.text for work in works])
    cut = [(work, text) for work in works for text in passages(work)]
    counts = Counter(word for _, text in cut for word in set(WORD.findall(text.lower())))
    nouns = Counter(word for _, text in cut for word in NOUN.findall(text))
    words = Counter(word for _, text in cut for word in WORD.findall(text.lower()))
    rarity = {  # a word of one passage alone is nobody's wish, one that seldom stands as a noun is none
        word: math.log(len(cut) / n)
        for word, n in counts.items()
        if n > 1 and (nouns[word] > NOUNS * words[word] or word not in nouns)
    }
    for number, (work, text) in enumerate(cut * rounds):
        draw = random.Random(f"{seed} {number}")
        told = people.renamed(text, draw)
        found = [_article(w, draw) for w in subjects(told, rarity)[: draw.randint(2, MOST)]]
        named = [name for name in (*WOMEN, *MEN) if name in told and draw.random() < NAMED]
        wish = _wish([*found, *named[:1]], styles, draw)
        kind, asked = draw.random(), wish
        if kind < BEGINNINGS + BOTH and (end := SENTENCE_END.search(told, 30)):
            wish = wish if kind >= BEGINNINGS else _styled("A story", styles, draw)
            asked = f"{wish.rstrip('.?!')}. {BEGINNING_LINE} {told[: end.end()]}"
            told = told[end.end() :]
        prompt = assemble(template, asked)[0]
        if told[0] not in " \n" and not prompt.endswith("\n"):  # a wish that reads like an opening
            told = f"\n\n{told}"
        yield replace(work, id=f"{work.id}#{number}", paragraphs=(told,), prompt=prompt)


def _wish(found: list[str], styles: Sequence[str], draw: random.Random) -> str:
    draw.shuffle(found)
    x = " and ".join(filter(None, (", ".join(found[:-1]), *found[-1:]))) or "somebody"
    return _styled(draw.choice(WORDS["forms"]).format(x=x, X=x[:1].upper() + x[1:]), styles, draw)


def _article(noun: str, draw: random.Random) -> str:
    if noun[0].isupper():
        return noun
    many = noun.endswith("s") and not noun.endswith(("ss", "us", "is"))
    own = "some" if many else "an" if noun[0] in "aeiou" else "a"
    return f"{draw.choice((own, own, 'the'))} {noun}"


def _styled(wish: str, styles: Sequence[str], draw: random.Random) -> str:
    if draw.random() >= STYLED:
        return wish
    return f"{wish.rstrip('.?!')} in the style of {draw.choice(styles)}."

"""Clean paragraphs, and drop what stands in a corpus twice. Pure."""

import re
import unicodedata
from collections.abc import Iterable, Iterator

from training.text.data.works import Drop, Work

REPEAT_WORDS = 8  # shorter paragraphs ("Yes," he said.) may repeat

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u200b-\u200f\u2060\ufeff]")
SPACES = re.compile(r"\s+")
BLANK_LINES = re.compile(r"\n[ \t]*(?:\n[ \t]*)+")
GUTENBERG_START = re.compile(r"\*\*\* ?START OF TH(?:E|IS) PROJECT GUTENBERG.*?\*\*\*", re.S)
GUTENBERG_END = re.compile(r"\*\*\* ?END OF TH(?:E|IS) PROJECT GUTENBERG", re.S)


def paragraphs_of(text: str) -> tuple[str, ...]:
    """Split at blank lines and clean each paragraph."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    start, end = GUTENBERG_START.search(text), GUTENBERG_END.search(text)
    text = text[start.end() if start else 0 : end.start() if end else len(text)]
    cleaned = (clean_paragraph(part) for part in BLANK_LINES.split(text))
    return tuple(part for part in cleaned if part)


def clean_paragraph(text: str) -> str:
    """NFC, no control characters, single plain spaces."""
    return SPACES.sub(" ", CONTROL.sub("", unicodedata.normalize("NFC", text))).strip()


def without_repeats(works: Iterable[Work], drops: list[Drop]) -> Iterator[Work]:
    """Drop works whose text came before, and longer paragraphs that came before anywhere."""
    seen_works: set[str] = set()
    seen: set[str] = set()
    for work in works:
        if work.digest in seen_works:
            drops.append(Drop(work=work.id, reason="repeated work", text=work.title))
            continue
        seen_works.add(work.digest)
        # Several prompts may have the same answer.
        yield work if work.prompt else work.with_paragraphs(fresh(work, seen, drops))


def fresh(work: Work, seen: set[str], drops: list[Drop]) -> Iterator[str]:
    for paragraph in work.paragraphs:
        key = paragraph.casefold()
        if len(key.split()) >= REPEAT_WORDS and key in seen:
            drops.append(Drop(work=work.id, reason="repeated paragraph", text=paragraph))
            continue
        seen.add(key)
        yield paragraph

"""Sentences of real and generated texts, set alike."""

import re
from collections.abc import Iterator

_END = re.compile(r"(?<!\b(?:Mr|Dr|St))(?<!\bMrs)(?<!\b[A-Z])[.!?…][”’]?(?=\s|$)")


def typeset(text: str) -> str:
    """Set quotes, dashes and dots alike, whoever wrote them.

    >>> typeset('"It rained--again..." she said.')
    '“It rained—again…” she said.'
    """
    line = " ".join(text.split()).replace("...", "…")
    line = re.sub(r"\s*(?:--+|\s[-–]\s|—)\s*", "—", line).replace("'", "’").replace("‘", "’")
    return re.sub(r'(^|[\s(—])"', r"\1“", line).replace('"', "”")


def sentences_of(text: str) -> Iterator[str]:
    line, start = typeset(text), 0
    for end in _END.finditer(line):
        yield line[start : end.end()].strip()
        start = end.end()

"""A work (a story, a book, an article) on its way from a source to a block of tokens."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from training.errors import BadCorpus
from training.run.json_lines import read_lines, write_lines


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Hold one text with its origin; `marks` are fields of the source that a recipe may select by.

    A text with a `prompt` is the answer to it. What stands before `#` in an id names the work that
    a passage or an answer comes from: splits never part those.
    """

    id: str
    title: str
    paragraphs: tuple[str, ...]
    source: str
    licence: str = ""
    marks: dict[str, str] = field(default_factory=dict)
    prompt: str = ""

    @property
    def origin(self) -> str:
        return self.id.partition("#")[0]

    @property
    def text(self) -> str:
        return "\n\n".join(self.paragraphs)

    @property
    def digest(self) -> str:
        asked = f"{self.prompt}\0" if self.prompt else ""
        return "sha256:" + hashlib.sha256((asked + self.text).encode()).hexdigest()

    def with_paragraphs(self, paragraphs: Iterable[str]) -> "Work":
        return replace(self, paragraphs=tuple(paragraphs))


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    work: str
    reason: str
    text: str


def write_works(path: Path, works: Iterable[Work]) -> None:
    write_lines(path, map(asdict, works))


def read_works(path: Path) -> Iterator[Work]:
    """Yield the works of one split; raises BadCorpus when the corpus stage has not run."""
    if not path.exists():
        raise BadCorpus(f"{path} is missing. Run `python -m training.corpus RECIPE` first.")
    for row in read_lines(path):
        yield Work(**{**row, "paragraphs": tuple(row["paragraphs"])})


def root_digest(works: Iterable[Work]) -> str:
    """Hash a set of works: sha256 over the sorted `digest id` lines."""
    lines = sorted(f"{work.digest} {work.id}\n" for work in works)
    return "sha256:" + hashlib.sha256("".join(lines).encode()).hexdigest()

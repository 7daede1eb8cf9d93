"""The human review of what the scrub finds: a list to fill in, and the decisions read back.

The list holds the very words that are to be taken out, so it is kept apart from every export, readable
by its owner only, and deleted when the decisions are made.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.errors import SetupError
from engine.study.export.table_files import plain_cell, safe_cell

FIELDS = ("finding", "table", "row", "column", "kind", "what", "context", "default", "decision")
DECISIONS = ("keep", "remove", "keep all", "remove all")
ALL = " all"
AROUND = 40  # characters of context on either side


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Hold one find or suspicion in one cell; `default` happens when nobody decides."""

    table: str
    row: str
    column: str
    number: int
    kind: str
    what: str
    context: str
    default: str

    @property
    def name(self) -> str:
        """Name it the same in every list that is made of the same words in the same row."""
        parts = (self.table, self.row, self.column, str(self.number), self.kind, self.what)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def context_of(text: str, start: int, end: int) -> str:
    """Quote the find with what stands around it, on one line.

    >>> context_of("Write to jo@x.org, please.", 9, 17)
    'Write to >>jo@x.org<<, please.'
    """
    before, after = text[max(0, start - AROUND) : start], text[end : end + AROUND]
    return " ".join(f"{before}>>{text[start:end]}<<{after}".split())


def review_list(findings: Iterable[Finding]) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(FIELDS)
    for one in findings:
        cells = (one.name, one.table, one.row, one.column, one.kind, one.what, one.context)
        writer.writerow([*map(safe_cell, cells), one.default, ""])
    return file.getvalue()


def same(what: str) -> str:
    """Name a decision about these words wherever they stand."""
    return f"all {what}"


def read_decisions(path: Path) -> Mapping[str, str]:
    """Read a filled list: keep or remove, by a finding's name or, for all of the same words, by `same`.

    Raises SetupError naming the line at fault.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SetupError(f"The review list {path} cannot be read: {error}") from error
    if rows and not {"finding", "decision"} <= rows[0].keys():
        raise SetupError(
            f"{path} is no review list: it has no columns `finding` and `decision`. Make one with: "
            "pastiche study review"
        )
    decisions: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        decision = (row["decision"] or "").strip().lower()
        if decision and decision not in DECISIONS:
            raise SetupError(
                f"{path}, line {number}: the decision {decision!r} is none. Write keep or remove, "
                "keep all or remove all, or leave it empty for what stands under `default`."
            )
        if decision.endswith(ALL):
            name = same(plain_cell(row.get("what") or ""))
            decisions[name] = decision.removesuffix(ALL)
        elif decision:
            decisions[plain_cell(row["finding"] or "")] = decision
    return decisions

"""The human review of what the scrub finds: a list to fill in, and the decisions read back.

The list holds the very words that are to be taken out, so it is kept apart from every export, readable
by its owner only, and deleted when the decisions are made.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from engine.errors import SetupError
from engine.study.export.table_files import plain_cell, safe_cell

FIELDS = ("what", "kind", "times", "context", "default", "decision")
DECISIONS = ("keep", "remove")
AROUND = 40  # characters of context on either side


@dataclass(slots=True, kw_only=True)
class Finding:
    """Hold words that were found, or suspected; `default` happens to them when nobody decides."""

    what: str
    kind: str
    context: str
    default: str
    times: int = 0


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
        cells = (one.what, one.kind, str(one.times), one.context)
        writer.writerow([*map(safe_cell, cells), one.default, ""])
    return file.getvalue()


def read_decisions(path: Path) -> dict[str, str]:
    """Read a filled list: words, and keep or remove. Raises SetupError naming the line at fault."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SetupError(f"The review list {path} cannot be read: {error}") from error
    if rows and not {"what", "times", "decision"} <= rows[0].keys():
        raise SetupError(
            f"{path} is no review list: it needs the columns `what`, `times` and `decision`. Make one "
            "with: pastiche study review"
        )
    decisions: dict[str, str] = {}
    for number, row in enumerate(rows, 2):
        decision = (row["decision"] or "").strip().lower()
        if decision and decision not in DECISIONS:
            raise SetupError(
                f"{path}, line {number}: the decision {decision!r} is none. Write keep or remove, or "
                "leave it empty for what stands under `default`."
            )
        if decision:
            decisions[plain_cell(row["what"] or "")] = decision
    return decisions

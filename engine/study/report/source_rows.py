"""The rows behind the figures, as CSV files within the page. No words of people are among them. Pure."""

import base64
import csv
import gzip
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from engine.study.export.codebook import Row, Tables
from engine.study.export.table_files import iso, safe_cell

LONG = 20_000  # characters of a CSV text
PERSON = 12  # characters of a pseudonym, enough to tell people apart
INTERACTIONS = (
    "id", "pseudonym", "accepted_at", "hour", "platform", "place_kind", "expert", "plain", "medium",
    "rule", "experiment", "arm", "state", "wait_seconds", "first_token_seconds", "write_seconds",
    "answer_seconds", "tokens_out", "moderation_action", "rating",
)  # fmt: skip
RATINGS = ("id", "pseudonym", "interaction_id", "value", "counts", "at")
CONSENTS = ("pseudonym", "action", "use", "excerpts", "linkage", "text_version", "locale", "at")
ENROLMENTS = ("experiment", "unit", "unit_kind", "arm", "block", "position", "excluded", "at")
ANSWERS = (
    "experiment", "pseudonym", "instrument", "question", "about", "value", "counts", "at",
)  # fmt: skip
TRIALS = (
    "id", "pseudonym", "kind", "experiment", "first", "second", "first_expert", "stimulus", "truth",
    "choice", "preferred", "correct", "confidence", "value", "unblinded", "scored", "excluded",
    "seconds", "latency", "state", "void_reason", "made_at",
)  # fmt: skip


def source_rows(tables: Tables) -> dict[str, str]:
    return {
        "interactions": _some(tables["interactions"], INTERACTIONS),
        "ratings": _some(tables["ratings"], RATINGS),
        "trials": _some(tables["trials"], TRIALS),
        "consents": _some(tables["consents"], CONSENTS),
        "answers": _some(tables["answers"], ANSWERS),
        "enrolments": _some(tables["enrolments"], ENROLMENTS),
    }


def link(name: str, text: str) -> tuple[str, str]:
    """Name the file, and make a data: URL of it; a long one is compressed."""
    if len(text) < LONG:
        plain = quote(text, safe=",:;/()-_.~")
        return f"{name}.csv", f"data:text/csv;charset=utf-8,{plain}"
    packed = base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()
    return f"{name}.csv.gz", f"data:application/gzip;base64,{packed}"


def _some(rows: Sequence[Row], names: Sequence[str]) -> str:
    return _csv({name: row[name] for name in names} for row in rows)


def _csv(rows: Iterable[Mapping[str, Any]]) -> str:
    file = io.StringIO(newline="")
    writer = csv.writer(file, lineterminator="\n")
    for number, row in enumerate(rows):
        if number == 0:
            writer.writerow(row)
        writer.writerow([_cell(name, value) for name, value in row.items()])
    return file.getvalue()


def _cell(name: str, value: Any) -> Any:
    if name in ("pseudonym", "unit") and value is not None:
        return str(value)[:PERSON]
    if isinstance(value, float) and (name == "at" or name.endswith("_at")):
        return iso(value)
    return safe_cell(value) if isinstance(value, str) else value

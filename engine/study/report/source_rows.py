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
from engine.study.report.judgements import player

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
EXPOSURES = ("id", "pseudonym", "kind", "experiment", "state", "void_reason", "latency", "made_at")


def source_rows(tables: Tables) -> dict[str, str]:
    votes = {row["exposure_id"]: row for row in tables["votes"] if row["counts"]}
    judged = [(row, votes[row["id"]]) for row in tables["exposures"] if row["id"] in votes]
    return {
        "interactions": _some(tables["interactions"], INTERACTIONS),
        "ratings": _some(tables["ratings"], RATINGS),
        "comparisons": _csv(map(_pair, (one for one in judged if one[0]["kind"] == "compare"))),
        "guesses": _csv(map(_guess, (one for one in judged if one[0]["kind"] == "guess"))),
        "consents": _some(tables["consents"], CONSENTS),
        "answers": _some(tables["answers"], ANSWERS),
        "exposures": _some(tables["exposures"], EXPOSURES),
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


def _pair(judged: tuple[Row, Row]) -> Row:
    exposure, vote = judged
    first, second = exposure["shown"][:2]
    return {
        "exposure": exposure["id"],
        "pseudonym": exposure["pseudonym"],
        "first": player(exposure, first),
        "second": player(exposure, second),
        "state": exposure["state"],
        "choice": vote["choice"],
        "seconds": round(vote["seconds"], 2),
        "unblinded": vote["unblinded"],
    }


def _guess(judged: tuple[Row, Row]) -> Row:
    exposure, vote = judged
    shown = exposure["shown"][0]
    return {
        "exposure": exposure["id"],
        "pseudonym": exposure["pseudonym"],
        "item": exposure["item"],
        "kind": shown["kind"],
        "manner": shown["expert"],
        "state": exposure["state"],
        "choice": vote["choice"],
        "seconds": round(vote["seconds"], 2),
        "confidence": vote["confidence"],
    }


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

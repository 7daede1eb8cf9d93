"""What every exported column means: name, kind, unit, missing values, where it comes from.

The columns are the schema's own; a column that is neither described nor left out on purpose fails a
test, so that the codebook cannot fall behind the tables.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.sql.elements import KeyedColumnElement

from engine.ledger.tables import Table
from engine.study import tables
from engine.study.experiments import tables as experiment_tables
from engine.study.export.schema import described, meaning, text_of
from engine.vault import Sealed

Kind = Literal["text", "word", "json", "whole", "number", "flag", "time"]
Row = dict[str, Any]
Tables = dict[str, list[Row]]
UNITS = {
    **dict.fromkeys(("tokens_in", "tokens_out", "length"), "tokens"),
    **dict.fromkeys(("width", "height"), "pixels"),
}
OPEN = frozenset({("answers", "value")})  # sealed in the ledger, but chosen by button, not typed
MANY_LEVELS = 30  # a column of words with more values than this is no factor

SOURCES: dict[str, type[Table]] = {
    "interactions": tables.InteractionRow,
    "pictures": tables.StudyPictureRow,
    "ratings": tables.StudyRatingRow,
    "events": tables.StudyEventRow,
    "consents": tables.ConsentRow,
    "experiments": experiment_tables.ExperimentRow,
    "enrolments": experiment_tables.Enrolment,
    "exposures": experiment_tables.Exposure,
    "votes": experiment_tables.Vote,
    "answers": experiment_tables.QuestionnaireAnswer,
    "items": experiment_tables.ItemRow,
}
# What goes out, as a file each: rows of these tables, or worked out from them (trials.py).
FILES = (*(name for name in SOURCES if name not in ("exposures", "votes", "items")),)
FILES += ("trials", "people", "questions", "stimuli")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Describe a column; `free`: people's or a model's own words, scrubbed and perhaps blanked."""

    name: str
    kind: Kind
    about: str
    unit: str = ""
    free: bool = False
    derived: bool = False


def table_words(table: str) -> dict[str, Any]:
    """Give what is written of an exported table; the ledger may have another name for it."""
    return described()[SOURCES[table].__tablename__ if table in SOURCES else table]


@cache
def columns(table: str) -> tuple[Column, ...]:
    """List the columns of an exported table: the schema's, then those derived from them."""
    words = table_words(table)
    source = SOURCES[table].__table__.columns if table in SOURCES else ()
    schema = (
        Column(
            name=(name := column.name),
            kind=(kind := _kind(column)),
            about=meaning(SOURCES[table].__tablename__, name),
            unit=_unit(name, kind),
            free=isinstance(column.type, Sealed) and (table, name) not in OPEN,
        )
        for column in source
        if column.name not in words.get("left_out", {})
    )
    derived = (
        Column(name=name, kind=kind, about=about, unit=_unit(name, kind), derived=True)
        for name, (kind, about) in words.get("derived", {}).items()
    )
    before = columns("items") if table == "stimuli" else ()
    return (*before, *schema, *derived)


def _kind(column: KeyedColumnElement[Any]) -> Kind:
    match column.type:
        case sa.Boolean():
            return "flag"
        case sa.Integer():
            return "whole"
        case sa.Float():
            return "time" if column.name == "at" or column.name.endswith("_at") else "number"
        case sa.JSON():
            return "json"
        case Sealed() if column.name in ("route", "drawing", "notes"):
            return "json"
        case Sealed() | sa.Text():
            return "text"
        case _:
            return "word"


def _unit(name: str, kind: Kind) -> str:
    return UNITS.get(name, {"time": "UTC", "number": "seconds"}.get(kind, ""))


def codebook(
    rows: Mapping[str, Sequence[Row]], of: Mapping[str, Sequence[Column]]
) -> dict[str, Any]:
    return {
        table: {
            "about": table_words(table)["about"],
            "source": table_words(table)["source"],
            "rows": len(rows[table]),
            "columns": [_entry(column, rows[table]) for column in of[table]],
        }
        for table in FILES
    }


def _entry(column: Column, rows: Sequence[Row]) -> dict[str, Any]:
    values = [row[column.name] for row in rows]
    levels = _levels(column, values)
    return {
        "name": column.name,
        "type": column.kind,
        "unit": column.unit,
        "about": column.about,
        "missing": values.count(None),
        "free_text": column.free,
        "derived": column.derived,
        **({"levels": levels} if levels else {}),
    }


def _levels(column: Column, values: Iterable[Any]) -> dict[str, int]:
    if column.kind not in ("word", "flag") or column.name.endswith(("id", "sha256")):
        return {}
    counts = Counter(str(value) for value in values if value is not None)
    return dict(sorted(counts.items())) if len(counts) <= MANY_LEVELS else {}


TYPE_WORDS: dict[Kind, str] = {
    "text": "text, UTF-8",
    "word": "short text or identifier",
    "json": "JSON in a text cell, keys sorted",
    "whole": "whole number, 64 bits",
    "number": "number",
    "flag": "true or false",
    "time": "time, UTC, to the millisecond (ISO 8601 in CSV and JSONL)",
}


def markdown(book: Mapping[str, Any]) -> str:
    parts = [text_of("codebook")]
    for table, entry in book.items():
        parts.append(f"## {table}\n\n{entry['about']}\n")
        parts.append(f"Rows: {entry['rows']}. Comes from: {entry['source']}.\n")
        lines = ["| column | type | unit | missing | meaning |", "| --- | --- | --- | --- | --- |"]
        lines += [_line(column) for column in entry["columns"]]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def _line(column: Mapping[str, Any]) -> str:
    about = column["about"]
    if column["derived"]:
        about += " *(worked out)*"
    if "levels" in column:
        shown = ", ".join(f"`{_cell(level)}` {count}" for level, count in column["levels"].items())
        about += f" Values: {shown}."
    kind = TYPE_WORDS[column["type"]].split(",")[0]
    return f"| `{column['name']}` | {kind} | {column['unit']} | {column['missing']} | {about} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("`", "'").replace("\n", " ")

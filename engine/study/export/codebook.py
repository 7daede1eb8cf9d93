"""What every exported column means: name, kind, unit, missing values, where it comes from.

The columns are the schema's own; a column that is neither described nor left out on purpose fails a
test, so that the codebook cannot fall behind the tables.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from engine.ledger.tables import Table
from engine.study import tables
from engine.study.experiments import tables as experiment_tables
from engine.study.export.schema import KIND_WORDS, Kind, described, kind_of, meaning, table, text_of
from engine.vault import Sealed

Row = dict[str, Any]
Tables = dict[str, list[Row]]
Key = TypeVar("Key")
One = TypeVar("One")
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
FILES += ("trials", "people", "questions", "stimuli", "annotations")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Describe a column; `free`: people's or a model's own words, scrubbed and perhaps blanked."""

    name: str
    kind: Kind
    about: str
    unit: str = ""
    free: bool = False
    derived: bool = False


def grouped(pairs: Iterable[tuple[Key, One]]) -> dict[Key, list[One]]:
    """Collect what has the same key, in order."""
    found: dict[Key, list[One]] = defaultdict(list)
    for key, one in pairs:
        found[key].append(one)
    return found


def table_words(name: str) -> dict[str, Any]:
    """Give what is written of an exported table; the ledger may have another name for it."""
    return described()[SOURCES[name].__tablename__ if name in SOURCES else name]


@cache
def columns(table: str) -> tuple[Column, ...]:
    words = table_words(table)
    source = SOURCES[table].__table__.columns if table in SOURCES else ()
    schema = (
        Column(
            name=(name := column.name),
            kind=(kind := kind_of(column)),
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


def _unit(name: str, kind: Kind) -> str:
    return UNITS.get(name, {"time": "UTC", "number": "seconds"}.get(kind, ""))


def codebook(
    rows: Mapping[str, Sequence[Row]], of: Mapping[str, Sequence[Column]]
) -> dict[str, Any]:
    return {
        name: {
            "about": table_words(name)["about"],
            "source": table_words(name)["source"],
            "rows": len(rows[name]),
            "columns": [_entry(column, rows[name]) for column in of[name]],
        }
        for name in FILES
    }


def _entry(column: Column, rows: Sequence[Row]) -> dict[str, Any]:
    values = [row[column.name] for row in rows]
    entry = {
        "name": column.name,
        "type": column.kind,
        "unit": column.unit,
        "about": column.about,
        "missing": values.count(None),
        "free_text": column.free,
        "derived": column.derived,
    }
    if column.kind in ("word", "flag") and not column.name.endswith(("id", "sha256")):
        levels = Counter(str(value) for value in values if value is not None)
        if 0 < len(levels) <= MANY_LEVELS:
            entry["levels"] = dict(sorted(levels.items()))
    return entry


def markdown(book: Mapping[str, Any]) -> str:
    parts = [text_of("codebook")]
    for name, entry in book.items():
        head = f"## {name}\n\n{entry['about']}\n\nRows: {entry['rows']}. Comes from: {entry['source']}."
        rows = [_line(column) for column in entry["columns"]]
        parts.append(f"{head}\n\n{table(['column', 'type', 'unit', 'missing', 'meaning'], rows)}\n")
    return "\n".join(parts)


def _line(column: Mapping[str, Any]) -> tuple[str, ...]:
    about = column["about"] + " *(worked out)*" * column["derived"]
    if "levels" in column:
        levels = ((level.replace("`", "'"), count) for level, count in column["levels"].items())
        about += f" Values: {', '.join(f'`{level}` {count}' for level, count in levels)}."
    kind = KIND_WORDS[column["type"]]
    return f"`{column['name']}`", kind, column["unit"], column["missing"], about

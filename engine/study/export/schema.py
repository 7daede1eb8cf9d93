"""The ledger's tables in words (schema.toml), and the page made of both: `pastiche db schema`."""

import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal

import sqlalchemy as sa

import engine.ledger.chat_tables
import engine.queues.postgres.tables
import engine.study.experiments.tables
import engine.study.tables  # noqa: F401 - the tables that are listed
from engine.ledger.tables import Table
from engine.vault import Sealed

Kind = Literal["text", "word", "json", "whole", "number", "flag", "time"]
KIND_WORDS: dict[Kind, str] = {
    "text": "text",
    "word": "short text or identifier",
    "json": "JSON",
    "whole": "whole number",
    "number": "number",
    "flag": "true or false",
    "time": "time",
}


def text_of(name: str) -> str:
    """Read a page, or a part of one, that is shipped as Markdown."""
    return files("engine.study.texts").joinpath(f"{name}.md").read_text(encoding="utf-8")


@cache
def described() -> dict[str, dict[str, Any]]:
    text = files("engine.study.export").joinpath("schema.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def titled(table: str, locale: str) -> str:
    """Name a table to whom its rows are about."""
    title: str = described()["yours"][table][locale.startswith("it")]
    return title


def meaning(table: str, column: str, locale: str = "en") -> str:
    """Say what a column is. Raises KeyError where nobody has written it down."""
    if locale.startswith("it"):
        italian: dict[str, str] = described()["it"]
        return italian.get(f"{table}.{column}") or italian[column]
    words: str = described().get(table, {}).get("columns", {}).get(column)
    return words or described()["common"][column]


def kind_of(column: Any) -> Kind:
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


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write a Markdown table.

    >>> print(table(["a", "b"], [[1, "x|y"]]))
    | a | b |
    | --- | --- |
    | 1 | x\\|y |
    """
    cells = [[str(value).replace("|", "\\|").replace("\n", " ") for value in row] for row in rows]
    lines = [head, ["---"] * len(head), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def opened_rows(table: str) -> list[dict[str, Any]]:
    """Read a table whole, its sealed columns opened. Raises LedgerError or SetupError."""
    from engine.ledger.storage import opened

    with opened() as connection:
        found = connection.execute(sa.select(Table.metadata.tables[table]))
        return [dict(row) for row in found.mappings()]


def schema_page() -> str:
    classes = sorted((m.class_ for m in Table.registry.mappers), key=lambda c: c.__tablename__)
    return "\n".join([text_of("schema"), *map(_section, classes)])


def _section(source: Any) -> str:
    name, about = source.__tablename__, " ".join((source.__doc__ or "").split("\n\n")[0].split())
    rows = [(f"`{c.name}`", _type(c), meaning(name, c.name)) for c in source.__table__.columns]
    return f"## {name}\n\n{about}\n\n{table(['column', 'type', 'meaning'], rows)}\n"


def _type(column: Any) -> str:
    """Say how a column is stored: a time is a number there."""
    stored = {"word": "text", "time": "number"}.get(kind := kind_of(column), KIND_WORDS[kind])
    words = "sealed text" if isinstance(column.type, Sealed) else stored
    return f"{words}, key" if column.primary_key else words

"""The ledger's tables in words (schema.toml), and the page made of both: `pastiche db schema`."""

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

import sqlalchemy as sa

import engine.ledger.chat_tables
import engine.queues.postgres.tables
import engine.study.experiments.tables
import engine.study.tables  # noqa: F401 - the tables that are listed
from engine.ledger.storage import opened
from engine.ledger.tables import Table
from engine.vault import Sealed


def text_of(name: str) -> str:
    """Read a page, or a part of one, that is shipped as Markdown."""
    return files("engine.study.texts").joinpath(f"{name}.md").read_text(encoding="utf-8")


@cache
def described() -> dict[str, dict[str, Any]]:
    text = files("engine.study.export").joinpath("schema.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def meaning(table: str, column: str) -> str:
    """Say what a column is. Raises KeyError where nobody has written it down."""
    words: str = described().get(table, {}).get("columns", {}).get(column)
    return words or described()["common"][column]


def opened_rows(table: str) -> list[dict[str, Any]]:
    """Read a table whole, its sealed columns opened. Raises LedgerError or SetupError."""
    with opened() as connection:
        found = connection.execute(sa.select(Table.metadata.tables[table]))
        return [dict(row) for row in found.mappings()]


def schema_page() -> str:
    classes = sorted((m.class_ for m in Table.registry.mappers), key=lambda c: c.__tablename__)
    return "\n".join([text_of("schema"), *map(_section, classes)])


def _section(source: Any) -> str:
    table, about = source.__table__, " ".join((source.__doc__ or "").split("\n\n")[0].split())
    lines = [f"## {table.name}\n\n{about}\n", "| column | type | meaning |", "| --- | --- | --- |"]
    lines += [
        f"| `{column.name}` | {_type(column)} | {meaning(table.name, column.name)} |"
        for column in table.columns
    ]
    return "\n".join(lines) + "\n"


def _type(column: sa.Column[Any]) -> str:
    kind = "sealed text" if isinstance(column.type, Sealed) else _plain(column.type)
    return f"{kind}, key" if column.primary_key else kind


def _plain(kind: sa.types.TypeEngine[Any]) -> str:
    match kind:
        case sa.Boolean():
            return "true or false"
        case sa.Integer():
            return "whole number"
        case sa.Float():
            return "number"
        case sa.JSON():
            return "JSON"
        case _:
            return "text"

"""Forgetting in the copies that were made before a schema change: they hold the same rows."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from engine.chat.rights import RULES
from engine.errors import LedgerError
from engine.ledger.erasure import BORROWED, cut_off, emptied, followers
from engine.ledger.observers import Observer, Rule
from engine.ledger.sqlite import LedgerFile


def in_backups(home: Path, act: Callable[[sa.Connection], None]) -> None:
    """Act on every copy; a tombstone waits for one that cannot be read."""
    for path in sorted((home / "backups").glob("*.sqlite3")):
        url = sa.URL.create("sqlite", database=str(path))
        try:
            with LedgerFile(path, url).connect(writing=True) as connection:
                act(connection)
                connection.commit()
        except (LedgerError, KeyError):  # KeyError: no ledger's tables are in it
            continue


def forget_there(
    lookup: str, pseudonyms: Sequence[str], observers: Sequence[Observer], connection: sa.Connection
) -> None:
    """Delete a person by each table's rule, after taking their words out of what others made."""
    schema = sa.MetaData()
    schema.reflect(connection)  # an older schema has fewer tables, and fewer columns
    tables = schema.tables
    askers, requests, jobs = (tables[name] for name in ("askers", "requests", "jobs"))
    person = sa.select(askers.c.id).where(askers.c.lookup == lookup)
    asked = sa.select(requests.c.id).where(requests.c.asker_id.in_(person))
    ran = sa.select(jobs.c.id).where(jobs.c.request_id.in_(asked))
    names: dict[str, list[Any]] = {"request": [ran], "lookup": [[lookup], ran], "nobody": []}
    for observer in observers:
        names["pseudonym"] = [pseudonyms]
        owner, words = observer.borrowed
        table = tables.get(owner.table.name)
        if table is not None:
            mine = sa.select(table.c.id).where(table.c[owner.name].in_(pseudonyms))
            _cut_off(connection, table, mine, words)
            names["pseudonym"].append(mine)
        _delete(connection, tables, observer.rules, names)
    _cut_off(connection, requests, asked, BORROWED, tables)
    _delete(connection, tables, RULES, names)
    connection.execute(sa.delete(requests).where(requests.c.id.in_(asked)))
    connection.execute(sa.delete(askers).where(askers.c.lookup == lookup))


def _delete(
    connection: sa.Connection,
    tables: Mapping[str, sa.Table],
    rules: Mapping[str, Rule],
    names: Mapping[str, list[Any]],
) -> None:
    for name, rule in rules.items():
        columns = [column.name for column in (rule.column, rule.also) if column is not None]
        there = [tables[name].c[c] for c in columns if name in tables and c in tables[name].c]
        if there and names[rule.by] and name not in ("requests", "askers"):  # they lead to the rest
            wanted = sa.or_(*(column.in_(of) for column in there for of in names[rule.by]))
            connection.execute(sa.delete(tables[name]).where(wanted))


def _cut_off(
    connection: sa.Connection,
    table: sa.Table,
    mine: sa.Select[Any],
    words: Sequence[str],
    beside: Mapping[str, sa.Table] | None = None,
) -> None:
    """Do what erasure.cut_off_requests does, with the columns that the copy has."""
    if "parent" not in table.c:
        return
    connection.execute(cut_off(table, mine, words))
    if beside is not None:
        jobs, outputs = beside["jobs"], beside["outputs"]
        ran = sa.select(jobs.c.id).where(jobs.c.request_id.in_(followers(table, mine)))
        for each, key, columns in (
            (jobs, jobs.c.id, ("prompt", "drawing")),
            (outputs, outputs.c.job_id, ("notes",)),
        ):
            if values := emptied(each, columns):
                connection.execute(sa.update(each).where(key.in_(ran)).values(values))
    connection.execute(sa.update(table).where(table.c.parent.in_(mine)).values(parent=None))

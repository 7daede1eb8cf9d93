"""Forgetting in the copies that were made before a schema change: they hold the same rows."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from engine.ledger.erasure import BORROWED
from engine.study import interactions
from engine.study.erasure_rules import RULES

NOTHING = "'[]'"  # where a column may not be empty
# The requests and interactions that go on from somebody's, however far.
LINE = (
    "with recursive line(id) as (select id from {table} where parent in ({mine}) union "
    "select c.id from {table} c join line on c.parent = line.id) "
)


def forget_in_backups(home: Path, lookup: str, pseudonyms: Sequence[str]) -> None:
    """Delete the person's rows in every copy, whatever its schema; one that cannot be read is left to
    the tombstone, which works when it is put back."""
    for path in sorted((home / "backups").glob("*.sqlite3")):
        try:
            with closing(sqlite3.connect(path)) as copy, copy:
                copy.execute("pragma secure_delete = on")
                _forget(copy, lookup, pseudonyms)
        except sqlite3.DatabaseError:
            continue


def _forget(copy: sqlite3.Connection, lookup: str, pseudonyms: Sequence[str]) -> None:
    asked = "select r.id from requests r join askers a on a.id = r.asker_id where a.lookup = ?"
    jobs = f"select id from jobs where request_id in ({asked})"  # noqa: S608 - no value is in it
    mine = "select id from interactions where pseudonym = ?"
    _cut_off(copy, "requests", asked, lookup, BORROWED)
    for name in ("ratings", "reports", "verdicts"):
        _delete(copy, name, "job_id", jobs, lookup)
    for pseudonym in pseudonyms:
        _cut_off(copy, "interactions", mine, pseudonym, interactions.BORROWED)
        for name in ("study_ratings", "study_events"):
            _delete(copy, name, "interaction_id", mine, pseudonym)
    for name, rule in RULES.items():
        if rule.by == "nobody" or not _has(copy, name, rule.column.name):
            continue
        where = f"delete from {name} where {rule.column.name}"  # noqa: S608 - names of ours
        if rule.by == "pseudonym":
            for pseudonym in pseudonyms:
                copy.execute(f"{where} = ?", (pseudonym,))
                if name == "study_links":
                    copy.execute("delete from study_links where root = ?", (pseudonym,))
        elif rule.by == "lookup":
            copy.execute(f"{where} = ?", (lookup,))
        else:
            chosen = asked if name == "requests" else jobs
            _delete(copy, name, rule.column.name, chosen, lookup)


def _delete(copy: sqlite3.Connection, table: str, column: str, mine: str, name: str) -> None:
    if _has(copy, table, column):
        gone = f"delete from {table} where {column} in ({mine})"  # noqa: S608 - names of ours
        copy.execute(gone, (name,))


def _cut_off(
    copy: sqlite3.Connection, table: str, mine: str, name: str, columns: Sequence[str]
) -> None:
    """As in the ledger (erasing.cut_off): others' rows lose the words that they took over."""
    if not _has(copy, table, "parent"):
        return
    line = LINE.format(table=table, mine=mine)
    ours = "select id from line"
    _blank(copy, line, table, columns, f"id in ({ours})", name)
    if table == "requests":
        jobs = f"select id from jobs where request_id in ({ours})"  # noqa: S608 - names of ours
        _blank(copy, line, "jobs", ("prompt", "drawing"), f"id in ({jobs})", name)
        _blank(copy, line, "outputs", ("notes",), f"job_id in ({jobs})", name)
    parted = f"update {table} set parent = null where parent in ({mine})"  # noqa: S608
    copy.execute(parted, (name,))


def _blank(
    copy: sqlite3.Connection, line: str, table: str, columns: Sequence[str], where: str, name: str
) -> None:
    """Empty these columns, as far as the copy has them; notes once were a list that had to be there."""
    kinds = {row[1]: row[3] for row in copy.execute(f"pragma table_info({table})")}
    there = [f"{c} = {NOTHING if kinds[c] else 'null'}" for c in columns if c in kinds]
    if there:
        blank = f"update {table} set {', '.join(there)} where {where}"  # noqa: S608
        copy.execute(f"{line} {blank}", (name,))


def _has(copy: sqlite3.Connection, table: str, column: str) -> bool:
    """Whether the copy's schema has that column."""
    return any(row[1] == column for row in copy.execute(f"pragma table_info({table})"))

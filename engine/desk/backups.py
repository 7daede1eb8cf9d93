"""Forgetting in the copies that were made before a schema change: they hold the same rows."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from engine.study.rights import RULES


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
            copy.execute(f"{where} in ({chosen})", (lookup,))


def _has(copy: sqlite3.Connection, table: str, column: str) -> bool:
    """Whether the copy's schema has that column."""
    return any(row[1] == column for row in copy.execute(f"pragma table_info({table})"))

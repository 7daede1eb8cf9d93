"""Answers to questions as quasi-identifiers: which was given is told in groups of k people only. Pure.

A question that `quasi_identifiers` names becomes a column of every row of a person, and the gate
(anonymity.py) coarsens it with the others. Whose answer it takes from one row has it taken everywhere,
and the gate begins anew, until it takes no more. People without an interaction have one row of nothing
else.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from engine.study.export.codebook import columns
from engine.study.export.k_anonymity import Row, gate

Tables = dict[str, list[Row]]
Hidden = set[tuple[str, str]]  # a person, a question


def questions(quasi: Sequence[str]) -> list[str]:
    """Those of the quasi-identifiers that are questions."""
    known = {column.name for column in columns("interactions")}
    return [name for name in quasi if name not in known]


def told(tables: Tables, quasi: Sequence[str], hidden: Collection[Any] = ()) -> list[Row]:
    """The interactions with each person's answers in them, then a row for everybody who has none."""
    asked = questions(quasi)
    given: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in tables["answers"]:
        if row["question"] in asked and row["counts"] and row["value"] is not None:
            of = f"{row['experiment']} {row['instrument']} {row['about']} {row['value']}"
            given[row["pseudonym"], row["question"]].append(of)

    def answers(person: str) -> Row:
        keys = {name: (person, name) for name in asked}
        return {
            name: None if key in hidden or key not in given else str(sorted(given[key]))
            for name, key in keys.items()
        }

    rows = [{**row, **answers(row["pseudonym"])} for row in tables["interactions"]]
    alone = {person for person, _ in given} - {row["pseudonym"] for row in rows}
    blank = dict.fromkeys(quasi)
    return rows + [{"pseudonym": person, **blank, **answers(person)} for person in sorted(alone)]


def gate_answers(tables: Tables, quasi: Sequence[str], k: int) -> dict[str, Any]:
    """Gate interactions and answers in place; returns the report. Raises SetupError as `gate` does."""
    asked = questions(quasi)
    hidden: Hidden = set()
    while True:
        before = told(tables, quasi, hidden)
        done = gate(before, quasi, k)
        more = {
            (new["pseudonym"], name)
            for old, new in zip(before, done.rows, strict=True)
            for name in asked
            if old[name] != new[name]
        }
        if not more:
            break
        hidden |= more
    kept = done.rows[: len(tables["interactions"])]
    tables["interactions"] = [
        {name: value for name, value in row.items() if name not in asked} for row in kept
    ]
    for row in tables["answers"]:
        taken = (row["pseudonym"], row["question"]) in hidden
        if row["question"] in asked and (taken or not row["counts"]):
            row["value"] = None
    gone = {name: sum(what == name for _, what in hidden) for name in asked}
    cells = {**done.report["cells_coarsened"], **{n: c for n, c in gone.items() if c}}
    return {**done.report, "cells_coarsened": dict(sorted(cells.items()))}

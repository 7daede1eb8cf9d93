"""From rows that may be read to rows that may go out: words, times, identifiers, groups.

In this order: words are blanked or scrubbed, small groups coarsened, times coarsened, identifiers
shortened, rows put in order. Nothing is added after the scrub that a person wrote.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from engine.study.disclosure.k_anonymity import DEFAULT, gate_tables, look, with_answers
from engine.study.disclosure.public_form import in_texts, leaves, publish
from engine.study.disclosure.review import Finding, context_of
from engine.study.disclosure.scrub import Find, find, replaced, suspects
from engine.study.export.codebook import Row, Tables, columns
from engine.study.export.dataset import Reading
from engine.study.export.schema import Kind
from engine.study.export.trials import made_from
from engine.study.pseudonyms import row_name

Form = Literal["private", "public"]
Grain = Literal["exact", "hour", "day"]
SECONDS: Mapping[Grain, int] = {"exact": 0, "hour": 3600, "day": 86400}
ULID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Hold what was asked for; `k` and `times` are None where they are left to the form."""

    study: str
    out: Path
    form: Form = "private"
    times: Grain | None = None
    k: int | None = None
    review: Path | None = None
    replace: bool = False
    spss: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Say how the rows go out; `k_enforced`: small groups are coarsened, and not only counted."""

    form: Form = "private"
    times: Grain = "exact"
    k: int = 5
    k_enforced: bool = False
    quasi_identifiers: tuple[str, ...] = DEFAULT


@dataclass(slots=True, kw_only=True)
class Scrub:
    """Take words out by pattern, and by a reader's decisions; count what it did."""

    decisions: Mapping[str, str] = field(default_factory=dict)
    taken: Counter[str] = field(default_factory=Counter)
    kept: int = 0
    removed: int = 0
    listing: bool = False
    findings: dict[str, Finding] = field(default_factory=dict)  # by their words

    def text(self, text: str) -> str:
        found = find(text)
        if self.listing or self.decisions:
            found = self._decided(text, found)
        self.taken.update(one.kind.rstrip("?") for one in found)
        return replaced(text, found) if found else text

    def _decided(self, text: str, found: list[Find]) -> list[Find]:
        maybe = [
            one
            for one in suspects(text)
            if all(one.end <= other.start or one.start >= other.end for other in found)
        ]
        chosen = []
        for one in sorted((*found, *maybe), key=lambda each: each.start):
            what, default = text[one.start : one.end], "keep" if one in maybe else "remove"
            if self.listing:
                context = context_of(text, one.start, one.end)
                new = Finding(what=what, kind=one.kind, context=context, default=default)
                self.findings.setdefault(what, new).times += 1
            decision = self.decisions.get(what, default)
            self.kept += default == "remove" and decision == "keep"
            self.removed += default == "keep" and decision == "remove"
            if decision == "remove":
                chosen.append(one)
        return chosen


@dataclass(frozen=True, slots=True, kw_only=True)
class Shaped:
    tables: Tables
    anonymity: dict[str, Any]
    blanked: dict[str, int]


def short(key: bytes, text: str) -> str:
    """Replace an identifier by a keyed one: the row's own tells the time, and others can read it in
    buttons.

    >>> short(b"key", "01K9ZZZZZZ0000000000000000"), short(b"key", "a word")
    ('b8e8dcc2d3ae9fe07bba', 'a word')
    """
    return row_name(key, text) if ULID.fullmatch(text) else text


def shape(reading: Reading, how: Shape, scrub: Scrub) -> Shaped:
    """Make the tables of an export. Raises SetupError when no group could be large enough."""
    tables = {name: [dict(row) for row in rows] for name, rows in reading.tables.items()}
    key = reading.key
    blanked = publish(tables, reading.excerpts, key) if how.form == "public" else {}
    for name, rows in tables.items():
        scrub_table(name, rows, scrub)
    report = (
        gate_tables(tables, how.quasi_identifiers, how.k)
        if how.k_enforced
        else look(with_answers(tables, how.quasi_identifiers), how.quasi_identifiers, how.k)
    )
    _coarsen(tables, how)
    for name, rows in tables.items():
        shorten(name, rows, key)
        rows.sort(key=lambda row: _order(name, row))
    tables |= made_from(tables)
    return Shaped(tables=tables, anonymity={"enforced": how.k_enforced, **report}, blanked=blanked)


def scrub_table(name: str, rows: Iterable[Row], scrub: Scrub) -> None:
    free = [column for column in columns(name) if column.free]
    for row in rows:
        if name == "items" and row["kind"] == "real":
            continue  # licensed passages are nobody's private words
        for column in free:
            value = row[column.name]
            if value is not None and column.kind == "json":
                value = leaves(json.loads(value), in_texts(scrub.text))
                row[column.name] = json.dumps(value, sort_keys=True, ensure_ascii=False)
            elif value is not None:
                row[column.name] = scrub.text(value)


def _coarsen(tables: Tables, how: Shape) -> None:
    for name, rows in tables.items():
        timed = _of_kind(name, "time")
        for row in rows:
            if seconds := SECONDS[_grain(name, row, how)]:
                for column in timed:
                    row[column] = cut(row[column], column, seconds)
            if name == "interactions" and how.times == "day":
                row["hour"] = None


def cut(value: Any, name: str, seconds: int) -> Any:
    """Round every timestamp down to a multiple of `seconds`; names tell times from other numbers."""

    def floor(one: Any, of: str) -> Any:
        timed = isinstance(one, int | float) and (of == "at" or of.endswith("_at"))
        return one - one % seconds if timed else one

    return leaves(value, floor, name)


def _grain(name: str, row: Row, how: Shape) -> Grain:
    if not how.k_enforced or "hour" not in how.quasi_identifiers:
        return how.times
    if how.times == "day" or name != "interactions":
        return "day"
    return "day" if row["hour"] is None or "-" in row["hour"] else "hour"


def shorten(name: str, rows: Iterable[Row], key: bytes) -> None:
    kinds, shortened = {c.name: c.kind for c in columns(name)}, partial(short, key)
    named = _of_kind(name, "word")
    for row in rows:
        for column in named:
            if kinds[column] == "json":
                row[column] = leaves(row[column], in_texts(shortened))
            elif row.get(column) is not None:
                row[column] = shortened(row[column])


def _of_kind(name: str, kind: Kind) -> list[str]:
    """List a table's columns of that kind, and those of values in which there may be some."""
    return [c.name for c in columns(name) if c.kind == kind or (c.kind == "json" and not c.free)]


def _order(name: str, row: Row) -> tuple[Any, ...]:
    """Sort by time as far as it goes out, then by identifier, so that no order tells more."""
    first = next((column.name for column in columns(name) if column.kind == "time"), None)
    when = 0.0 if first is None or row[first] is None else row[first]
    return (when, str(row["id"]).zfill(20), row.get("study") or "")

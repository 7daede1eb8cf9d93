"""The one place that reads a study's rows, each of them joined with live consent.

A row is read if the last word of its person is a consent to use in the study, and if the consent that
it was accepted under was one. Whoever withdrew is in no table, whatever they had agreed to before.
Accounts that one person linked, and still wants linked on every side, stand under one pseudonym. All
is read in one transaction, so that what is written meanwhile is wholly in or wholly out.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.transactions import Database
from engine.study import tables as t
from engine.study.export.codebook import SOURCES, Row, Tables, columns
from engine.study.export.consort import Flow
from engine.study.export.derived_columns import derive


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Hold the live consent of one pseudonym; their rows go out under `name`."""

    name: str
    excerpts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Hold rows of people who still agree; `excerpts` are names, `key` renames what goes out."""

    tables: Tables
    excerpts: frozenset[str]
    flow: Flow
    key: bytes = field(repr=False)


async def read_study(database: Database, study: str) -> Reading:
    """Read everything that may go out, in a stable order. Raises LedgerError."""
    async with one_moment(database) as connection:
        consents = await rows_of(connection, t.ConsentRow, study)
        people = live_people(consents, await rows_of(connection, t.StudyLinkRow, study))
        places = await rows_of(connection, t.StudyPlaceRow, study)
        invited = await rows_of(connection, t.InvitationRow, study)
        raw = {name: await rows_of(connection, table, study) for name, table in SOURCES.items()}
    raw["consents"] = consents
    allowed, left_out = allowed_rows(raw["interactions"], consents, people)
    tables = _joined(raw, allowed, people)
    kinds = {row["place"]: row["kind"] for row in places}
    derive(tables, {row["id"]: row for row in consents}, kinds)
    names = {person.name for person in people.values()}
    return Reading(
        tables={
            name: [{column.name: row[column.name] for column in columns(name)} for row in rows]
            for name, rows in tables.items()
        },
        # on every account that goes under the same name
        excerpts=frozenset(names - {p.name for p in people.values() if not p.excerpts}),
        key=bytes.fromhex(database.vault.lookup("study export", study)),
        flow=Flow(
            people=_flow_of_people(invited, consents, people),
            interactions={
                "on_record": len(raw["interactions"]),
                "left_out": left_out,
                "here": len(tables["interactions"]),
            },
            units=_units(raw, people),
        ),
    )


def _flow_of_people(
    invited: Sequence[Row], consents: Sequence[Row], people: Mapping[str, Person]
) -> dict[str, Any]:
    last, names = _last(consents), {person.name for person in people.values()}
    return {
        "invited": dict(sorted(Counter(row["outcome"] for row in invited).items())),
        "ever_agreed": len({row["pseudonym"] for row in consents if row["action"] == "granted"}),
        "withdrew": sum(row["action"] != "granted" for row in last.values()),
        "no_longer_agree_to_use": sum(
            row["action"] == "granted" and name not in people for name, row in last.items()
        ),
        "accounts_joined": len(people) - len(names),
        "agree_now": len(names),
    }


@asynccontextmanager
async def one_moment(database: Database) -> AsyncIterator[AsyncConnection]:
    """Open a connection whose reads are all of one moment."""
    async with database.reading() as connection:
        if database.dialect != "sqlite":  # SQLite's own are already
            connection = await connection.execution_options(isolation_level="REPEATABLE READ")
        yield connection


def _units(
    raw: Tables, people: Mapping[str, Person]
) -> dict[tuple[str, str], tuple[int, int, int]]:
    erased: Counter[tuple[str, str]] = Counter()
    for row in raw["experiments"]:
        erased.update({(row["id"], arm): count for arm, count in (row["erased"] or {}).items()})
    found: Counter[tuple[str, str]] = Counter()
    left: Counter[tuple[str, str]] = Counter()
    for row in raw["enrolments"]:
        arm = row["experiment"], row["arm"]
        found[arm] += 1
        left[arm] += row["pseudonym"] is not None and row["pseudonym"] not in people
    arms = sorted({*found, *erased})
    return {arm: (found[arm] + erased[arm], erased[arm], left[arm]) for arm in arms}


def live_people(consents: Sequence[Row], links: Sequence[Row]) -> dict[str, Person]:
    """Find everybody whose last word is a consent to use, by pseudonym."""
    live = {pseudonym: row for pseudonym, row in _last(consents).items() if _grants(row)}
    linkable = {pseudonym for pseudonym, row in live.items() if row["linkage"]}
    roots = {row["pseudonym"]: row["root"] for row in links if row["root"] in linkable}
    return {
        pseudonym: Person(
            name=roots.get(pseudonym, pseudonym) if row["linkage"] else pseudonym,
            excerpts=row["excerpts"],
        )
        for pseudonym, row in live.items()
    }


def _grants(row: Row) -> bool:
    return bool(row["action"] == "granted" and row["use"] and row["adult"])


async def rows_of(connection: AsyncConnection, table: Any, study: str) -> list[Row]:
    schema = table.__table__
    query = sa.select(schema).where(schema.c.study == study)
    found = await connection.execute(query.order_by(*schema.primary_key.columns))
    return [dict(row) for row in found.mappings()]


def _last(consents: Iterable[Row]) -> dict[str, Row]:
    # rows come in the order in which they were written
    return {row["pseudonym"]: row for row in consents}


def allowed_rows(
    interactions: Sequence[Row], consents: Sequence[Row], people: Mapping[str, Person]
) -> tuple[set[str], dict[str, int]]:
    granted = {(row["id"], row["pseudonym"]) for row in consents if _grants(row)}
    allowed: set[str] = set()
    left_out: Counter[str] = Counter()
    for row in interactions:
        if row["pseudonym"] not in people:
            left_out["no consent now"] += 1
        elif (row["consent_id"], row["pseudonym"]) not in granted:
            left_out["no consent then"] += 1
        else:
            allowed.add(row["id"])
    return allowed, dict(sorted(left_out.items()))


def _joined(raw: Tables, allowed: set[str], people: Mapping[str, Person]) -> Tables:
    tables: Tables = {}
    gone = {row["id"] for row in raw["interactions"]} - allowed
    for name, rows in raw.items():
        kept = [row for row in rows if _stays(name, row, allowed, people)]
        kept = [row for row in kept if row.get("item") not in gone]  # what annotators rated
        tables[name] = [_named(row, people) for row in kept]
    exposures = {row["id"] for row in tables["exposures"]}
    tables["votes"] = [row for row in tables["votes"] if row["exposure_id"] in exposures]
    gone = {row["id"] for row in raw["exposures"]} - exposures
    tables["answers"] = [row for row in tables["answers"] if row["about"] not in gone]
    taken = taken_up(raw["interactions"], lambda row: row["id"] in allowed)
    for row in tables["interactions"]:
        row["parent"] = row["parent"] if row["parent"] in allowed else None
        if row["id"] in taken:
            row |= dict.fromkeys(t.BORROWED, None)
    return tables


def taken_up(interactions: Sequence[Row], agreed: Callable[[Row], bool]) -> set[str]:
    """Find the interactions that go on, however far, from somebody else's that is not `agreed`."""
    known = {row["id"]: row for row in interactions}
    found = set()
    for row in interactions:
        above, seen = known.get(row["parent"]), {row["id"]}
        while above is not None and above["id"] not in seen:
            if above["pseudonym"] != row["pseudonym"] and not agreed(above):
                found.add(row["id"])
            seen.add(above["id"])
            above = known.get(above["parent"])
    return found


def _stays(name: str, row: Row, allowed: set[str], people: Mapping[str, Person]) -> bool:
    """Keep a row about nobody; one of a person if they agree; one of an interaction with it."""
    if name == "interactions":
        return row["id"] in allowed
    if row.get("pseudonym") is not None and row["pseudonym"] not in people:
        return False
    return row.get("interaction_id") is None or row["interaction_id"] in allowed


def _named(row: Row, people: Mapping[str, Person]) -> Row:
    """Rename a row's person. A passage whose asker left keeps neither words nor asker."""
    row = dict(row)
    if row.get("pseudonym") is not None:
        row["pseudonym"] = people[row["pseudonym"]].name
    if row.get("unit_kind") == "person":
        row["unit"] = row["pseudonym"]  # it may have been another account's, which has left
    author = row.get("author")
    if author is not None:
        gone = author not in people
        row["author"] = None if gone else people[author].name
        if gone:
            row["text"], row["media"] = None, None
    return row

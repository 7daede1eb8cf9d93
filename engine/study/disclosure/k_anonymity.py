"""k-anonymity: nobody in a table may stand out by what is known of them from outside. Pure.

A group is the rows with the same values of all quasi-identifiers; it must be of at least k *people*, not
rows. A group of fewer is coarsened as a whole, one column after another (the hour first, then language,
place, platform), until it falls in with enough others; what is left alone at the end, with nothing
told of it, takes in as many people of the largest group as it lacks, or the smallest group whole. So
every group has k people, and no row is lost (Sweeney 2002; recoding by cells as in Samarati 2001).

A question of an experiment may be a quasi-identifier: its answer becomes a column of every row of a
person. An answer that the gate takes from one row is taken everywhere, and the gate begins anew, until
it takes no more. People without an interaction have one row of nothing else.

Limits, which the card repeats: a pseudonym's rows lie together, so somebody who knows several of a
person's hours knows more than one row tells; and free text may say anything.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from engine.errors import SetupError
from engine.study.export.codebook import Row, Tables, columns, grouped
from engine.study.export.derived_columns import files_of

Values = tuple[Any, ...]
Report = dict[str, Any]
DEFAULT = ("platform", "locale", "place_kind", "hour")
SPAN = 6  # hours of a part of the day


def _part_of_day(hour: str | None) -> str | None:
    """Coarsen an hour to its quarter of the day."""
    if hour is None or "-" in hour:
        return hour
    first = int(hour) - int(hour) % SPAN
    return f"{first:02}-{first + SPAN - 1:02}"


# How to coarsen a column before its value is suppressed, in this order; others are only suppressed.
STEPS: Mapping[str, Callable[[Any], Any]] = {
    "hour": _part_of_day,
    "locale": lambda locale: locale and locale.replace("_", "-").split("-")[0],  # its language
    "place_kind": lambda kind: kind if kind in (None, "private") else "shared",
}


def gate(rows: Sequence[Row], quasi: Sequence[str], k: int) -> tuple[list[Row], Report]:
    """Coarsen until every group has k people, in the rows' order. Raises SetupError without k."""
    work = [dict(row) for row in rows]
    report = look(rows, quasi, k)
    if work and report["people"] < k:
        raise SetupError(
            f"People in this export: {report['people']}, so no group can have k = {k}. Wait for more "
            "people, lower --k if your ethics board agrees, or use --form private without --k."
        )
    changed: dict[str, set[int]] = defaultdict(set)
    for column, step in _plan(quasi):
        for numbers in _small(work, quasi, k):
            for number in numbers:
                coarse = step(work[number][column])
                if coarse != work[number][column]:
                    work[number][column] = coarse
                    changed[column].add(number)
    while small := _small(work, quasi, k):
        for number in _company(work, quasi, k, small[0]):
            for name in quasi:
                if work[number][name] is not None:
                    changed[name].add(number)
                    work[number][name] = None
    after = _groups(work, quasi)
    return work, {
        **report,
        "cells_coarsened": {name: len(numbers) for name, numbers in sorted(changed.items())},
        "groups_after": len(after),
        "smallest_group_after": _smallest(work, after),
    }


def _company(rows: Sequence[Row], quasi: Sequence[str], k: int, alone: Sequence[int]) -> list[int]:
    """Choose the rows that join those alone, of whom nothing is told: some people's of the largest group
    if it can spare them, else the smallest group's."""
    present = _people(rows, alone)
    groups = _groups(rows, quasi).items()
    telling = [numbers for values, numbers in groups if any(one is not None for one in values)]
    largest = max(telling, key=lambda numbers: len(_people(rows, numbers)))
    members = _people(rows, largest)
    lacking = k - len(present)
    if len(members) - lacking < k or len(members - present) < lacking:
        return min(telling, key=len)
    guests = sorted(members - present)[:lacking]
    return [number for number in largest if rows[number]["pseudonym"] in guests]


def look(rows: Sequence[Row], quasi: Sequence[str], k: int) -> Report:
    groups = _groups(rows, quasi)
    return {
        "k": k,
        "quasi_identifiers": list(quasi),
        "people": len({row["pseudonym"] for row in rows}),
        "rows": len(rows),
        "groups_before": len(groups),
        "groups_too_small_before": len(_small(rows, quasi, k)),
        "smallest_group_before": _smallest(rows, groups),
    }


def _plan(quasi: Sequence[str]) -> list[tuple[str, Callable[[Any], Any]]]:
    """Order the steps: first all that keep something, then column by column suppression."""
    order = sorted(quasi, key=[*STEPS, *quasi].index)
    mild = [(name, STEPS[name]) for name in order if name in STEPS]
    return [*mild, *((name, lambda _: None) for name in order)]


def _groups(rows: Sequence[Row], quasi: Sequence[str]) -> dict[Values, list[int]]:
    return grouped((tuple(row[name] for name in quasi), n) for n, row in enumerate(rows))


def _people(rows: Sequence[Row], numbers: Collection[int]) -> set[str]:
    return {rows[number]["pseudonym"] for number in numbers}


def _small(rows: Sequence[Row], quasi: Sequence[str], k: int) -> list[list[int]]:
    groups = _groups(rows, quasi).values()
    return [numbers for numbers in groups if len(_people(rows, numbers)) < k]


def _smallest(rows: Sequence[Row], groups: Mapping[Values, list[int]]) -> int:
    return min((len(_people(rows, numbers)) for numbers in groups.values()), default=0)


# Over the tables of an export


def with_answers(tables: Tables, quasi: Sequence[str], hidden: Collection[Any] = ()) -> list[Row]:
    """Join the interactions with each person's answers, then add a row for everybody who has none."""
    asked = _questions(quasi)
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


def _questions(quasi: Sequence[str]) -> list[str]:
    known = {column.name for column in columns("interactions")}
    return [name for name in quasi if name not in known]


def gate_tables(tables: Tables, quasi: Sequence[str], k: int) -> Report:
    asked, before = _questions(quasi), tables["interactions"]
    hidden: set[tuple[str, str]] = set()  # a person, a question
    while True:
        rows = with_answers(tables, quasi, hidden)
        gated, report = gate(rows, quasi, k)
        more = {
            (new["pseudonym"], name)
            for old, new in zip(rows, gated, strict=True)
            for name in asked
            if old[name] != new[name]
        }
        if not more:
            break
        hidden |= more
    tables["interactions"] = [
        {name: value for name, value in row.items() if name not in asked}
        for row in gated[: len(before)]
    ]
    for row in tables["answers"]:
        taken = (row["pseudonym"], row["question"]) in hidden
        if row["question"] in asked and (taken or not row["counts"]):
            row["value"] = None
    _suppress_echoes(tables, before, quasi)
    gone = {name: sum(what == name for _, what in hidden) for name in asked}
    cells = {**report["cells_coarsened"], **{n: c for n, c in gone.items() if c}}
    return {**report, "cells_coarsened": dict(sorted(cells.items()))}


def _suppress_echoes(tables: Tables, before: Sequence[Row], quasi: Sequence[str]) -> None:
    """Suppress values in other columns from which a coarsened one could be inferred.

    A language stands in the consent too, and in the digest of its text; a platform in how an exposure
    was seen; the kind of a place in `private` and `place`; in a stratum the answer that a quota counts.
    """
    pairs = list(zip(before, tables["interactions"], strict=True))
    active = {new["pseudonym"] for _, new in pairs}
    coarse = {
        name: {new["pseudonym"] for old, new in pairs if old[name] != new[name]}
        for name in ("locale", "platform")
    }

    def exposed(name: str, row: Row) -> bool:
        """Tell whether the row's person has that column coarsened, or no interaction at all."""
        person = row["pseudonym"]
        return name in quasi and (person in coarse[name] or person not in active)

    for old, new in pairs:
        if old["place_kind"] != new["place_kind"]:
            new["place"] = None
            new["private"] = new["private"] if new["place_kind"] is not None else None
    for row in tables["consents"]:
        if exposed("locale", row):
            row["locale"], row["text_sha256"] = None, None
    for row in tables["exposures"]:
        if exposed("platform", row) and row["visible"]:
            row["visible"] = {k: v for k, v in row["visible"].items() if k != "platform"}
    quotas = {name: file.get("quota", {}) for name, file in files_of(tables).items()}
    said = {(row["pseudonym"], row["question"], row["value"]) for row in tables["answers"]}
    for row in tables["enrolments"]:
        asked = quotas.get(row["experiment"], {}).get("question")
        if asked in quasi and (row["pseudonym"], asked, row["stratum"]) not in said:
            row["stratum"] = None

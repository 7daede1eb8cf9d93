"""k-anonymity: nobody in a table may stand out by what is known of them from outside.

A group is the rows with the same values of all quasi-identifiers; it must be of at least k *people*, not
rows. A group of fewer is coarsened as a whole, one column after another (the hour first, then language,
place, platform), until it falls in with enough others; what is left alone at the end, with nothing
told of it, takes in as many people of the largest group as it lacks, or the smallest group whole. So
every group has k people, and no row is lost (Sweeney 2002; recoding by cells as in Samarati 2001).

Limits, which the card repeats: a pseudonym's rows lie together, so somebody who knows several of a
person's hours knows more than one row tells; and free text may say anything.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import SetupError

Row = dict[str, Any]
Values = tuple[Any, ...]
DEFAULT = ("platform", "locale", "place_kind", "hour")
K = 5
SPAN = 6  # hours of a part of the day


def _part_of_day(hour: str | None) -> str | None:
    """The quarter of the day that an hour is in.

    >>> _part_of_day("17")
    '12-17'
    """
    if hour is None or "-" in hour:
        return hour
    first = int(hour) - int(hour) % SPAN
    return f"{first:02}-{first + SPAN - 1:02}"


def _language(locale: str | None) -> str | None:
    """The language of a locale.

    >>> _language("en-GB")
    'en'
    """
    return None if locale is None else locale.replace("_", "-").split("-")[0]


def _shared(kind: str | None) -> str | None:
    """Whether a place was private or shared."""
    return kind if kind in (None, "private") else "shared"


def _away(_value: Any) -> None:
    return None


# For each column, how to coarsen it, step after step; the last step takes the value away.
STEPS: Mapping[str, tuple[Callable[[Any], Any], ...]] = {
    "hour": (_part_of_day, _away),
    "locale": (_language, _away),
    "place_kind": (_shared, _away),
}
FIRST = ("hour", "locale", "place_kind")  # the order of coarsening; others follow as declared


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What was done: the same rows, coarser, in the same order, and counts for the report."""

    rows: list[Row]
    report: dict[str, Any]


def gate(rows: Sequence[Row], quasi: Sequence[str], k: int) -> Gate:
    """Coarsen until every group has k people. Raises SetupError when there are no k people."""
    work = [dict(row) for row in rows]
    people = {row["pseudonym"] for row in work}
    if work and len(people) < k:
        raise SetupError(
            f"People in this export: {len(people)}, so no group can have k = {k}. Wait for more people, "
            "lower --k if your ethics board agrees, or use --form private without --k."
        )
    before = _groups(work, quasi)
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
            changed.update(
                {name: changed[name] | {number} for name in quasi if work[number][name] is not None}
            )
            work[number].update(dict.fromkeys(quasi))
    after = _groups(work, quasi)
    return Gate(
        rows=work,
        report={
            "k": k,
            "quasi_identifiers": list(quasi),
            "people": len(people),
            "rows": len(work),
            "groups_before": len(before),
            "groups_too_small_before": len(_small(rows, quasi, k)),
            "smallest_group_before": _smallest(rows, before),
            "cells_coarsened": {name: len(numbers) for name, numbers in sorted(changed.items())},
            "groups_after": len(after),
            "smallest_group_after": _smallest(work, after),
        },
    )


def _company(rows: Sequence[Row], quasi: Sequence[str], k: int, alone: Sequence[int]) -> list[int]:
    """The rows that join those alone, of whom nothing is told: some people's of the largest group
    if it can spare them, else the smallest group's."""
    present = {rows[number]["pseudonym"] for number in alone}
    telling = [
        numbers
        for values, numbers in _groups(rows, quasi).items()
        if any(value is not None for value in values)
    ]
    largest = max(telling, key=lambda numbers: len({rows[n]["pseudonym"] for n in numbers}))
    members = {rows[number]["pseudonym"] for number in largest}
    lacking = k - len(present)
    if len(members) - lacking < k or len(members - present) < lacking:
        return min(telling, key=len)
    guests = sorted(members - present)[:lacking]
    return [number for number in largest if rows[number]["pseudonym"] in guests]


def look(rows: Sequence[Row], quasi: Sequence[str], k: int) -> dict[str, Any]:
    """The report on rows that are left as they are."""
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
    """Which column is coarsened how, in order: first all that keeps something, then column by column."""
    order = sorted(quasi, key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    mild = [(name, step) for name in order for step in STEPS.get(name, ())[:-1]]
    return [*mild, *((name, _away) for name in order)]


def _groups(rows: Sequence[Row], quasi: Sequence[str]) -> dict[Values, list[int]]:
    groups: dict[Values, list[int]] = defaultdict(list)
    for number, row in enumerate(rows):
        groups[tuple(row[name] for name in quasi)].append(number)
    return groups


def _small(rows: Sequence[Row], quasi: Sequence[str], k: int) -> list[list[int]]:
    return [
        numbers
        for numbers in _groups(rows, quasi).values()
        if len({rows[number]["pseudonym"] for number in numbers}) < k
    ]


def _smallest(rows: Sequence[Row], groups: Mapping[Values, list[int]]) -> int:
    """The fewest people in a group; 0 where there is none."""
    sizes = (len({rows[n]["pseudonym"] for n in numbers}) for numbers in groups.values())
    return min(sizes, default=0)

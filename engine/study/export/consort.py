"""The flow of a study after CONSORT: people, units by arm, and what was shown, to the analysis. Pure."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from engine.study.export.codebook import Row, Tables

UNIT_FLOW = (
    "experiment", "arm", "allocated", "left, erased", "left, kept unused", "completed", "excluded",
    "to analyse", "why excluded",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """Count people and rows; `units` by arm: allocated, erased, and of people who left (CONSORT)."""

    people: Mapping[str, Any]
    interactions: Mapping[str, Any]
    units: Mapping[tuple[str, str], tuple[int, int, int]]


def unit_flow(tables: Tables, flow: Flow) -> list[tuple[Any, ...]]:
    """Follow the units of each arm from their allocation to the analysis; columns as in UNIT_FLOW."""
    found: dict[tuple[str, str], list[Row]] = {arm: [] for arm in flow.units}
    for row in tables["enrolments"]:
        found[row["experiment"], row["arm"]].append(row)
    rows = []
    for arm, own in found.items():
        reasons = Counter(row["excluded"] for row in own if row["excluded"])
        why = ", ".join(f"{reason} {count}" for reason, count in sorted(reasons.items()))
        done, out = sum(row["completed_at"] is not None for row in own), reasons.total()
        rows.append((*arm, *flow.units[arm], done, out, len(own) - out, why))
    return rows


def _exposures(tables: Tables) -> Iterator[tuple[str, int, int, int, dict[str, int]]]:
    """Count by kind what was made, delivered, judged, and void by reason."""
    for kind in sorted({row["kind"] for row in tables["trials"]}):
        own = [row for row in tables["trials"] if row["kind"] == kind]
        void = Counter(row["void_reason"] or "-" for row in own if row["state"] == "void")
        shown = sum(row["delivered_at"] is not None for row in own)
        judged = sum(bool(row["choice"] or row["answers"]) for row in own)
        yield kind, len(own), shown, judged, dict(sorted(void.items()))


def flow_json(tables: Tables, flow: Flow) -> dict[str, Any]:
    told = ("made", "delivered", "judged", "void")
    shown = {kind: dict(zip(told, counts, strict=True)) for kind, *counts in _exposures(tables)}
    return {
        "people": flow.people,
        "interactions": flow.interactions,
        "arms": [dict(zip(UNIT_FLOW, row, strict=True)) for row in unit_flow(tables, flow)],
        "shown": shown,
    }


def numbers(values: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten numbers in dicts into rows of a table.

    >>> list(numbers({"left_out": {"no consent": 2}, "here": 7}))
    [('left out: no consent', 2), ('here', 7)]
    """
    for name, value in values.items():
        words = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            yield from numbers(value, f"{words}: ")
        else:
            yield words, value

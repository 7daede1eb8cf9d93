"""What an experiment found, in plain sentences: hypothesis, preregistration, primary result. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.study.export.codebook import Row, Tables
from engine.study.export.table_files import iso
from engine.study.export.trials import units_of
from engine.study.report.estimates import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    title: str
    hypothesis: str
    preregistered: str
    sentences: Sequence[str]


def excluded(tables: Tables) -> set[tuple[str, str]]:
    """Name (experiment, person) of everybody whom the file's own rules leave out."""
    return {unit for unit, row in units_of(tables).items() if row["excluded"]}


def finding(row: Row, file: Mapping[str, Any], results: Sequence[str], out: int) -> Finding:
    beside = "of comparisons and guesses the result for everybody stands beside it."
    rules = f"Its own rules of exclusion leave out {out}; {beside}"
    nothing = "Nothing was compared or guessed in it; ratings by arm stand below."
    address = file.get("preregistration") or "none was named"
    frozen = iso(row["frozen_at"])[:10]
    return Finding(
        title=str(file.get("title", row["id"])),
        hypothesis=str(file.get("hypothesis", "")),
        preregistered=f"Preregistration: {address}. Frozen on {frozen}; {row['enrolled']} units.",
        sentences=[*(results or [nothing]), rules],
    )


def preferred(first: str, second: str, one: Estimate, ties: int) -> str:
    ties_too = f" {ties} ties are left out." if ties else ""
    if not one.n:
        return f"No comparison of {first} with {second} was decided.{ties_too}"
    return (
        f"{first} was preferred to {second} in {one.value:.1%} of {one.n} decided comparisons by "
        f"{one.people} people{_interval(one, 0.5, 'no preference', percent=True)}.{ties_too}"
    )


def told_apart(one: Estimate) -> str:
    return (
        f"People told real passages from generated ones with d′ = {one.value:.2f} over {one.n} guesses "
        f"by {one.people} people{_interval(one, 0.0, 'blind guessing')}."
    )


def _interval(one: Estimate, nothing: float, what: str, *, percent: bool = False) -> str:
    if not one.low < one.high:
        return ", too few or too alike for an interval"
    low, high = (f"{v:.1%}" if percent else f"{v:.2f}" for v in (one.low, one.high))
    within = "does not exclude" if one.low <= nothing <= one.high else "excludes"
    return f" (95 % interval {low} to {high}, which {within} {what})"

"""Figures of questionnaires and scales: how each question was answered, arm by arm. Pure."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from engine.study.experiments.questionnaires import DEBRIEF
from engine.study.experiments.questions import BOTH, Question
from engine.study.export.codebook import Row, Tables, grouped
from engine.study.export.trials import Asked, asked_of, labels_of, questions_of, units_of
from engine.study.report.estimates import Estimate, estimated
from engine.study.report.figures import Figure, forest, interval, stacked
from engine.study.report.primary import excluded

EVERYBODY = "all"
MEANS = (
    "Means, with 95 % intervals by drawing whole people anew; the line is the middle of the scale. "
    "People whom the rules exclude are left out."
)
SEVERAL = "Each could choose several, so that the choices add up to more than the answers."
NUMBER = re.compile(r"-?\d+(\.\d+)?(e[+-]\d+)?")
MANY = 7  # values that have a colour of their own


def answers(tables: Tables) -> list[Figure]:
    arms = {unit: row["arm"] for unit, row in units_of(tables).items()}
    asked, out = questions_of(tables["experiments"]), excluded(tables)
    found = grouped(
        (asked_of(row), row)
        for row in tables["answers"]
        if row["counts"] and row["instrument"] != DEBRIEF
        if (row["experiment"], row["pseudonym"]) not in out
    )
    return [_figure(key, found[key], arms, asked.get(key)) for key in sorted(found)]


def _scale(asked: Question, values: Sequence[str]) -> tuple[list[str], dict[float, str]]:
    """Give a question's choices in their order, and the ends of its scale with their words."""
    every, labels = asked.values, labels_of(asked)
    if asked.kind in ("choice", "multiple"):
        return [value for value in every if value in values], {}
    ends = dict.fromkeys((every[0], every[-1])) if every and not asked.choices else ()
    return [], {float(end): "\n".join([end, labels.get(end, "")]).strip() for end in ends}


def _figure(
    question: Asked,
    rows: Sequence[Row],
    arms: Mapping[tuple[str, str], str],
    asked: Question | None,
) -> Figure:
    experiment, instrument, name = question
    armed = ((arms.get((experiment, row["pseudonym"]), EVERYBODY), row) for row in rows)
    by_arm = dict(sorted(grouped(armed).items()))
    said = [row["value"] for row in rows if row["value"] is not None]
    numeric = not (asked and asked.choices) and all(map(NUMBER.fullmatch, said))
    several = asked and asked.kind == "multiple"
    parts = {value: value.split(BOTH) if several else [value] for value in said} | {None: [None]}
    values = sorted({p for s in said for p in parts[s]}, key=float if numeric else str)
    in_order, ends = _scale(asked, values) if asked else ([], {})
    values = in_order or values
    label = "-".join(("answers", *question))
    means = {arm: _mean(own) for arm, own in by_arm.items()} if numeric and said else {}
    counts = {
        arm: Counter(p for r in own for p in parts[r["value"]]) for arm, own in by_arm.items()
    }
    return Figure(
        name=label,
        title=asked.text if asked else f"{experiment}, {instrument}: {name}",
        svg=_picture(label, means, counts, values, ends),
        n=f"n = {len(said):,} answers of {len({row['pseudonym'] for row in rows}):,} people",
        rows="answers",
        which=f"{experiment}, {instrument}, {name}, those that count",
        head=("arm", "answers", "mean", "95 % interval", "prefer not to say", *values),
        cells=[
            _line(arm, len(own), counts[arm], values, means.get(arm)) for arm, own in by_arm.items()
        ],
        note=MEANS if means else SEVERAL if several else "",
    )


def _line(
    arm: str, people: int, counts: Counter[str | None], values: Sequence[str], mean: Estimate | None
) -> tuple[Any, ...]:
    about = interval(mean) if mean else ("", "")
    return arm, people - counts[None], *about, counts[None], *(counts[value] for value in values)


def _picture(
    label: str,
    means: Mapping[str, Estimate],
    counts: Mapping[str, Counter[str | None]],
    values: Sequence[str],
    ends: Mapping[float, str],
) -> str:
    if means:
        scale = ends or {float(value): value for value in (values[0], values[-1])}
        middle = sum(scale) / 2
        return forest(label, means, "mean answer", "Mean by arm", middle=middle, ends=scale)
    if len(values) > MANY:
        return ""
    parts = {value: [count[value] for count in counts.values()] for value in values}
    return stacked(label, list(counts), parts, "answers", "Answers by arm")


def _mean(rows: Sequence[Row]) -> Estimate:
    """Average numbers; people with several answers are drawn with all of them."""
    said = [(row["pseudonym"], float(row["value"])) for row in rows if row["value"] is not None]
    if not said:
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), n=0)
    _, person = np.unique([name for name, _ in said], return_inverse=True)
    sums = np.bincount(person, weights=[value for _, value in said])
    table = np.stack([sums, np.bincount(person)], axis=1).astype(float)
    return estimated(table, lambda sums: sums[..., :1] / sums[..., 1:], len(said))[0]

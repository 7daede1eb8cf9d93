"""Figures of questionnaires and scales: how each question was answered, arm by arm. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from engine.study.export.codebook import Row, Tables
from engine.study.report.estimates import Estimate, estimated
from engine.study.report.figures import Figure, interval
from engine.study.report.plots import forest, stacked

Question = tuple[str, str, str]  # experiment, instrument, question
EVERYBODY = "all"
MEANS = "Means, with 95 % intervals by drawing whole people anew; the line is the middle of the answers."
MANY = 7  # values that have a colour of their own


def answers(tables: Tables) -> list[Figure]:
    arms = {(row["experiment"], row["unit"]): row["arm"] for row in tables["enrolments"]}
    found: dict[Question, list[Row]] = {}
    for row in tables["answers"]:
        if row["counts"]:
            key = (row["experiment"], row["instrument"], row["question"])
            found.setdefault(key, []).append(row)
    return [_figure(question, found[question], arms) for question in sorted(found)]


def _figure(question: Question, rows: Sequence[Row], arms: Mapping[tuple[str, str], str]) -> Figure:
    experiment, instrument, name = question
    by_arm: dict[str, list[Row]] = {}
    for row in rows:
        arm = arms.get((experiment, row["pseudonym"]), EVERYBODY)
        by_arm.setdefault(arm, []).append(row)
    by_arm = dict(sorted(by_arm.items()))
    said = [row["value"] for row in rows if row["value"] is not None]
    numeric = all(value.isdecimal() for value in said)
    values = sorted(set(said), key=lambda value: (int(value), "") if numeric else (0, value))
    label = "-".join(("answers", *question))
    means = {arm: _mean(own) for arm, own in by_arm.items()} if numeric and said else {}
    counts = {arm: Counter(row["value"] for row in own) for arm, own in by_arm.items()}
    return Figure(
        name=label,
        title=f"{experiment}, {instrument}: {name}",
        svg=_picture(label, means, counts, values),
        n=f"n = {len(said):,} answers of {len({row['pseudonym'] for row in rows}):,} people",
        rows="answers",
        which=f"{experiment}, {instrument}, {name}, those that count",
        head=("arm", "answers", "mean", "95 % interval", "prefer not to say", *values),
        cells=[
            (
                arm,
                sum(counts[arm].values()) - counts[arm][None],
                *(interval(means[arm]) if arm in means else ("", "")),
                counts[arm][None],
                *(counts[arm][value] for value in values),
            )
            for arm in by_arm
        ],
        note=MEANS if means else "",
    )


def _picture(
    label: str,
    means: Mapping[str, Estimate],
    counts: Mapping[str, Counter[str | None]],
    values: Sequence[str],
) -> str:
    if means:
        middle = (int(values[0]) + int(values[-1])) / 2
        return forest(label, means, "mean answer", "Mean by arm", middle=middle)
    if len(values) > MANY:
        return ""
    parts = {value: [count[value] for count in counts.values()] for value in values}
    return stacked(label, list(counts), parts, "answers", "Answers by arm", lying=True)


def _mean(rows: Sequence[Row]) -> Estimate:
    """Average numbers; people with several answers are drawn with all of them."""
    sums: dict[str, list[float]] = {}
    for row in rows:
        if row["value"] is not None:
            one = sums.setdefault(row["pseudonym"], [0.0, 0.0])
            one[0] += int(row["value"])
            one[1] += 1
    if not sums:
        return Estimate(value=float("nan"), low=float("nan"), high=float("nan"), n=0)
    table = np.array(list(sums.values()))
    n = int(table[:, 1].sum())
    return estimated(table, lambda sums: sums[..., :1] / sums[..., 1:], n)[0]

"""The planned figures of this export, from trials.csv and annotations.csv: `python analysis.py`.

Each line: what, of which, value, 95 % interval, judgements, people. Judgements of one person hang
together: shares and odds have errors clustered by person (Liang and Zeger 1986), d' and alpha those of
leaving out one person after another; the alpha of ratings that of leaving out one item after another.
Whom an experiment's own rules exclude is left out. Needs numpy. analysis.R prints the same.
"""

import csv
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Trial = dict[str, str]
Floats = NDArray[np.float64]
Line = tuple[str, str, float, float, float, int, int]
Z = NormalDist().inv_cdf(0.975)
RIDGE = 1e-3  # keeps odds finite where all said the same


def read(folder: Path) -> list[Trial]:
    rows = rows_of(folder / "trials.csv")
    seen = ("single", "delivered")  # of which nothing more is asked
    return [row for row in rows if row["scored"] == "true" or (row["kind"], row["state"]) == seen]


def rows_of(path: Path) -> list[Trial]:
    with path.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if not row["excluded"]]


def logit(x: Floats, y: Floats, weight: Floats, who: Sequence[str]) -> tuple[Floats, Floats]:
    """Fit log-odds [columns] of y to x, with errors clustered by `who`."""
    b = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ b))
        bread = np.linalg.inv((x * (weight * p * (1 - p))[:, None]).T @ x + RIDGE * np.eye(len(b)))
        b = b + bread @ (x.T @ (weight * (y - p)) - RIDGE * b)
    people = {name: number for number, name in enumerate(dict.fromkeys(who))}
    scores = np.zeros((len(people), len(b)))
    np.add.at(scores, [people[name] for name in who], x * (weight * (y - p))[:, None])
    spread = bread @ scores.T @ scores @ bread * len(people) / max(1, len(people) - 1)
    return b, np.sqrt(np.diag(spread))


def line(what: str, of: str, value: float, error: float, rows: Sequence[Trial]) -> Line:
    people = len({row["pseudonym"] for row in rows})
    return what, of, value, value - Z * error, value + Z * error, len(rows), people


def share(what: str, of: str, hits: Sequence[bool], who: Sequence[str]) -> Line:
    ones = np.ones(len(hits))
    b, error = logit(ones[:, None], np.array(hits, dtype=float), ones, who)
    low, high = (1 / (1 + math.exp(-(b[0] + side * Z * error[0]))) for side in (-1, 1))
    return what, of, sum(hits) / len(hits), low, high, len(hits), len(set(who))


def left_out(
    what: str, of: str, rows: Sequence[Trial], figure: Callable[[Sequence[Trial]], float]
) -> Line:
    """Estimate a figure with the error of leaving out one person after another (jackknife)."""
    people = list(dict.fromkeys(row["pseudonym"] for row in rows))
    each = np.array([figure([r for r in rows if r["pseudonym"] != one]) for one in people])
    return line(what, of, figure(rows), math.sqrt((len(people) - 1) * np.var(each)), rows)


def prime(rows: Sequence[Trial]) -> float:
    """d' with the log-linear correction (Hautus 1995); a hit is a real passage called real."""
    rates = []
    for truth in ("real", "generated"):
        own = [row["choice"] == "real" for row in rows if row["truth"] == truth]
        rates.append(NormalDist().inv_cdf((sum(own) + 0.5) / (len(own) + 1)))
    return rates[0] - rates[1]


def alpha(rows: Sequence[Trial]) -> float:
    """Krippendorff's alpha, nominal, over stimuli that two people or more judged."""
    units: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        units[row["stimulus"]].append(row["preferred"] or row["choice"])
    counts, values = counted(list(units.values()), "nominal")
    return agreement(coincidences(counts), values, "nominal")


def counted(units: Sequence[Sequence[str]], scale: str) -> tuple[Floats, Floats]:
    """Count the values [units, values] of the units that have two or more; and give the values."""
    told = [unit for unit in units if len(unit) > 1]
    nominal = scale == "nominal"
    names = sorted({value for unit in told for value in unit}, key=str if nominal else float)
    values = np.array(range(len(names)) if nominal else names, dtype=float)
    counts = [[unit.count(name) for name in names] for unit in told]
    return np.array(counts, dtype=float).reshape(len(told), len(names)), values


def coincidences(counts: Floats) -> Floats:
    """Count which values [values, values] stand beside which in a unit, each unit by its size."""
    weighed = counts / (counts.sum(axis=1) - 1)[:, None]
    return np.asarray(weighed.T @ counts - np.diag(weighed.sum(axis=0)))


def agreement(pairs: Floats, values: Floats, scale: str) -> float:
    """Krippendorff's alpha of coincidences (Krippendorff 2011)."""
    n = pairs.sum(axis=0)
    at = np.cumsum(n) - n / 2 if scale == "ordinal" else values
    apart = 1 - np.eye(len(n)) if scale == "nominal" else (at[:, None] - at) ** 2
    expected = (np.outer(n, n) * apart).sum() / max(1, n.sum() - 1)
    return float(1 - (pairs * apart).sum() / expected) if expected else math.nan


def agreed(annotations: Sequence[Trial]) -> Iterator[Line]:
    """Estimate alpha for each question of a step, with the error of leaving out one item after another.

    There is none where fewer than two items were rated twice, or all (but for one) said the same.
    """
    key = lambda row: (row["experiment"], row["step"], row["question"])  # noqa: E731
    told = [row for row in annotations if row["scale"] and row["value"]]
    for (experiment, step, question), group in itertools.groupby(sorted(told, key=key), key):
        rows, units = list(group), defaultdict(list)
        for row in rows:
            units[row["item"]].append(row["value"])
        scale = rows[0]["scale"]
        counts, values = counted(list(units.values()), scale)
        whole, n = coincidences(counts), len(counts)
        value = agreement(whole, values, scale)
        each = [agreement(whole - coincidences(counts[i : i + 1]), values, scale) for i in range(n)]
        if n > 1 and not np.isnan([value, *each]).any():
            name = f"{experiment}: {step}.{question}, {scale}"
            yield line("alpha", name, value, math.sqrt((n - 1) * np.var(each)), rows)


def style(row: Trial) -> list[float]:
    """Give the first's differences from the second: log length, paragraphs, marks per 100 signs."""
    length, parts, marks = (
        [float(row[f"{side}_{name}"] or 0) for side in ("first", "second")]
        for name in ("characters", "paragraphs", "punctuation")
    )
    dense = [100 * mark / max(1, long) for mark, long in zip(marks, length, strict=True)]
    longer = math.log(max(1, length[0]) / max(1, length[1]))
    return [longer, parts[0] - parts[1], dense[0] - dense[1]]


def in_order(rows: Sequence[Trial]) -> list[str]:
    """List the arms as results name them: what is treated first."""
    sides = [(int(row.get(f"{x}_rank") or 0), row[x]) for row in rows for x in ("first", "second")]
    return list(dict.fromkeys(arm for _, arm in sorted(sides) if arm))


def means(what: str, name: str, rows: Sequence[Trial], said: Sequence[float]) -> Iterator[Line]:
    """Average by arm, and the differences of arms, with errors clustered by person."""
    arms, people = in_order(rows), list(dict.fromkeys(row["pseudonym"] for row in rows))
    x = np.array([[float(row["first"] == arm) for arm in arms] for row in rows])
    mean = x.T @ np.array(said) / x.sum(axis=0)
    off = x * (np.array(said) - x @ mean)[:, None] / x.sum(axis=0)
    each = np.array([[row["pseudonym"] == one for row in rows] for one in people]) @ off
    spread = each.T @ each * len(people) / max(1, len(people) - 1)
    of = [(arm, one) for arm, one in zip(arms, np.eye(len(arms)), strict=True)]
    of += [(f"{a} minus {b}", p - q) for (a, p), (b, q) in itertools.combinations(of, 2)]
    for label, by in of:
        own = [row for row, part in zip(rows, x @ np.abs(by), strict=True) if part]
        yield line(what, f"{name}: {label}", by @ mean, math.sqrt(by @ spread @ by), own)


def strengths(name: str, rows: Sequence[Trial]) -> Iterator[Line]:
    """Bradley-Terry as log-odds against the last arm, then with style held equal; ties count half."""
    arms = in_order(rows)
    said = {"a": (1, 1), "b": (0, 0)}
    twice = [(row, won) for row in rows for won in said.get(row["choice"], (1, 0))]
    won = np.array([float(one) for _, one in twice])
    weight, who = np.full(len(twice), 0.5), [row["pseudonym"] for row, _ in twice]
    plain = [
        [1.0] + [float(row["first"] == arm) - float(row["second"] == arm) for arm in arms[:-1]]
        for row, _ in twice
    ]
    held = [[*line, *style(row)] for line, (row, _) in zip(plain, twice, strict=True)]
    names = ["first", *(f"{arm} over {arms[-1]}" for arm in arms[:-1])]
    more = [*names, "log length", "paragraphs", "punctuation"]
    for what, x, labels in (("strength", plain, names), ("style held", held, more)):
        b, error = logit(np.array(x), won, weight, who)
        for label, value, e in zip(labels, b, error, strict=True):
            yield line(what, f"{name}: {label}", value, e, rows)


def lines(trials: Sequence[Trial]) -> Iterator[Line]:
    key = lambda row: (row["experiment"], row["kind"])  # noqa: E731
    for (experiment, kind), group in itertools.groupby(sorted(trials, key=key), key):
        rows, name = list(group), experiment or "outside"
        if kind == "compare":
            yield from _compared(name, rows)
        elif kind == "guess":
            for column in ("first_expert", "arm"):
                for value in sorted({row[column] for row in rows} - {""}):
                    own = [row for row in rows if row[column] == value]
                    if len({row["truth"] for row in own}) == 2:
                        yield left_out("d prime", f"{name}: {column} {value}", own, prime)
            yield left_out("d prime", f"{name}: all", rows, prime)
        elif kind == "single":
            for what, column in (("thumbs up", "thumb"), ("rating", "value")):
                own = [row for row in rows if row[column] not in ("", "0" * (column == "thumb"))]
                said = [float(row[column]) for row in own]
                up = [float(one > 0) for one in said] if column == "thumb" else said
                yield from means(what, name, own, up) if own else ()
        if any(row["stimulus"] for row in rows):
            yield left_out("alpha", name, [row for row in rows if row["stimulus"]], alpha)


def _compared(name: str, rows: Sequence[Trial]) -> Iterator[Line]:
    decided = [row for row in rows if row["choice"] in ("a", "b")]
    for one, other in itertools.combinations(in_order(decided), 2):
        own = [row for row in decided if {row["first"], row["second"]} == {one, other}]
        if own:
            won, who = [row["preferred"] == one for row in own], [row["pseudonym"] for row in own]
            yield share("preferred", f"{name}: {one} over {other}", won, who)
    if decided:
        first, who = [row["choice"] == "a" for row in decided], [r["pseudonym"] for r in decided]
        yield share("position", f"{name}: first shown", first, who)
        yield from strengths(name, rows)


if __name__ == "__main__":
    here = Path(__file__).resolve().parent
    for told in (*lines(read(here)), *agreed(rows_of(here / "annotations.csv"))):
        print("%-11s %-40s %9.4f %9.4f %9.4f %6d %6d" % told)  # noqa: T201, UP031

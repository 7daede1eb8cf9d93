"""What is put into simulated studies, and how often their 95 % intervals hold it.

Judgements are drawn with the given chances exactly, and alike within a person (a Gaussian copula), so
that the truth of every figure is known. The intervals are those of the export's analysis.py and of the
report. Stimuli are the same in every study: alpha's truth is that of these stimuli, over all people.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from engine.study.export import analysis
from engine.study.report.estimates import by_person, detection, estimated, share_by_person
from tests.benchmarks.figures import Figure, clock

ODDS, FIRST, DPRIME, ALPHA = (
    2.0,
    1.2,
    1.0,
    0.25,
)  # planted; the first shown is chosen at odds of 1.2
PAIRS, GUESSES, STIMULI = 6, 10, 12
LIKE = 0.1  # correlation of one person's latent judgements
BETWEEN = (93.5, 96.5)
NORMAL = NormalDist()

OPTIONS = argparse.ArgumentParser(prog="recovery", description=__doc__)
OPTIONS.add_argument("--studies", type=int, default=1000)
OPTIONS.add_argument("--people", type=int, default=80, help="of each study (80)")

Draw = np.random.Generator
Floats = NDArray[np.float64]


def chance(log_odds: float) -> float:
    return 1 / (1 + math.exp(-log_odds))


def alike(draw: Draw, chances: Floats) -> NDArray[np.bool_]:
    """Draw [people, judgements] with these chances, one person's alike."""
    own = draw.standard_normal((len(chances), 1))
    each = draw.standard_normal(chances.shape)
    latent = math.sqrt(LIKE) * own + math.sqrt(1 - LIKE) * each
    return latent < np.vectorize(NORMAL.inv_cdf)(chances)


def pairs(draw: Draw, people: int) -> list[analysis.Trial]:
    """Each arm first as often; the treated one preferred at ODDS, the first shown at FIRST."""
    treated_first = np.tile(np.arange(PAIRS) % 2 == 0, (people, 1))
    b, c = math.log(ODDS), math.log(FIRST)
    wins = np.where(treated_first, chance(c + b), chance(b - c))
    won = alike(draw, wins)
    rows = []
    for (who, _), first in np.ndenumerate(treated_first):
        arms = ("lora", "base") if first else ("base", "lora")
        number = len(rows) % PAIRS
        preferred = "lora" if won[who, number] else "base"
        choice = "a" if preferred == arms[0] else "b"
        facts = {"first": arms[0], "second": arms[1], "preferred": preferred, "choice": choice}
        sizes = {f"{side}_{name}": "1" for side in ("first", "second") for name in
                 ("characters", "paragraphs", "punctuation")}  # fmt: skip
        rows.append({"pseudonym": f"p{who}", **facts, **sizes})
    return rows


def guesses(draw: Draw, people: int) -> list[analysis.Trial]:
    real = draw.random((people, GUESSES)) < 0.5
    said = alike(draw, np.where(real, NORMAL.cdf(DPRIME / 2), NORMAL.cdf(-DPRIME / 2)))
    names = {True: "real", False: "generated"}
    return [
        {"pseudonym": f"p{who}", "truth": names[bool(truth)], "choice": names[bool(said[who, n])]}
        for (who, n), truth in np.ndenumerate(real)
    ]


def ratings(draw: Draw, people: int) -> list[analysis.Trial]:
    """Everybody judges every stimulus; half of them are liked more, half less, so that ALPHA holds."""
    apart = math.sqrt(ALPHA) / 2
    likes = 0.5 + apart * np.where(np.arange(STIMULI) % 2, 1, -1)
    said = draw.random((people, STIMULI)) < likes
    return [
        {"pseudonym": f"p{who}", "stimulus": f"s{n}", "preferred": "", "choice": str(bool(liked))}
        for (who, n), liked in np.ndenumerate(said)
    ]


def study(draw: Draw, people: int) -> Iterator[tuple[str, float, float, float]]:
    """Simulate one study; give each figure with its interval and the truth."""
    rows = pairs(draw, people)
    who = [row["pseudonym"] for row in rows]
    won = [row["preferred"] == "lora" for row in rows]
    first = [row["choice"] == "a" for row in rows]
    b, c = math.log(ODDS), math.log(FIRST)
    wins = (chance(c + b) + chance(b - c)) / 2
    firsts = (chance(c + b) + 1 - chance(b - c)) / 2

    def line(
        name: str, found: Sequence[float | int | str], truth: float
    ) -> tuple[str, float, float, float]:
        return name, float(found[3]), float(found[4]), truth

    yield line("share preferred", analysis.share("", "", won, who), wins)
    yield line("share first", analysis.share("", "", first, who), firsts)
    strengths = {
        found[1]: found for found in analysis.strengths("x", rows) if found[0] == "strength"
    }
    yield line("log odds of the arm", strengths["x: base over lora"], -b)
    yield line("log odds of the first", strengths["x: first"], c)
    told = guesses(draw, people)
    yield line("d prime", analysis.left_out("", "", told, analysis.prime), DPRIME)
    rated = ratings(draw, people)
    yield line("alpha", analysis.left_out("", "", rated, analysis.alpha), ALPHA)
    one = share_by_person(list(zip(who, won, strict=True)))
    yield "report: share preferred", one.low, one.high, wins
    places = [(r["pseudonym"], 2 * (r["truth"] != "real") + (r["choice"] != "real")) for r in told]
    two = estimated(by_person(places, (4,)), detection, len(told))[0]
    yield "report: d prime", two.low, two.high, DPRIME


def run(_folder: Path, options: argparse.Namespace) -> list[Figure]:
    held: Counter[str] = Counter()
    draw, progress = np.random.default_rng(1), _progress(options.studies)
    with clock() as taken:
        for number in range(options.studies):
            for name, low, high, truth in study(draw, options.people):
                held[name] += low <= truth <= high
            progress(number + 1)
    times = {"wall_seconds": taken.wall, "cpu_seconds": taken.cpu}
    against = f"{BETWEEN[0]} to {BETWEEN[1]}"
    return [
        Figure(
            name=f"{name}, held",
            value=100 * n / options.studies,
            unit="%",
            against=against,
            **times,
        )
        for name, n in held.items()
    ]


def _progress(whole: int) -> Callable[[int], None]:
    def told(number: int) -> None:
        if number % max(1, whole // 10) == 0:
            sys.stderr.write(f"{number} of {whole} studies\n")

    return told

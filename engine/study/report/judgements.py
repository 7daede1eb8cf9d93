"""Figures of judgement: blinded comparisons and guesses. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.study.export.codebook import Row, Tables
from engine.study.report import estimates as est
from engine.study.report.figures import Figure, count_of, interval
from engine.study.report.plots import forest, shares

RESAMPLED = "95 % intervals by drawing whole people anew, 1,000 times."


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Hold one comparison that counts: `better` won over `worse`, or neither (`tie`)."""

    person: str
    better: str
    worse: str
    tie: bool


def judgements(tables: Tables) -> list[Figure]:
    votes = {row["exposure_id"]: row for row in tables["votes"] if row["counts"]}
    pairs = _with_votes(tables, votes, "compare")
    guesses = _with_votes(tables, votes, "guess")
    judged = [one for pair in pairs if (one := _judged(*pair)) is not None]
    return [
        _wins(judged, pairs),
        _strengths(judged),
        _position(pairs),
        _detection(guesses),
        _confidence(guesses),
    ]


def _with_votes(tables: Tables, votes: dict[str, Row], kind: str) -> list[tuple[Row, Row]]:
    return [
        (row, votes[row["id"]])
        for row in tables["exposures"]
        if row["kind"] == kind and row["state"] != "void" and row["id"] in votes
    ]


def player(exposure: Row, entry: Row) -> str:
    """Name what competes: the arm of an experiment, else the expert or the base alone.

    >>> player({"experiment": None}, {"expert": "agatha", "plain": True, "arm": "base"})
    'base alone'
    """
    if exposure["experiment"]:
        return f"{exposure['experiment']}: {entry['arm']}"
    return "base alone" if entry.get("plain") else str(entry.get("expert") or entry["arm"])


def _judged(exposure: Row, vote: Row) -> Judged | None:
    """Leave out what is not scored: both bad, or a judge who may have known."""
    if vote["unblinded"] or vote["choice"] not in ("a", "b", "tie"):
        return None
    first, second = (player(exposure, entry) for entry in exposure["shown"][:2])
    if vote["choice"] == "b":
        first, second = second, first
    tie = vote["choice"] == "tie"
    return Judged(person=exposure["pseudonym"], better=first, worse=second, tie=tie)


def _count(rows: Sequence[tuple[Row, Row]]) -> str:
    return count_of([vote for _, vote in rows])


def _wins(judged: Sequence[Judged], pairs: Sequence[tuple[Row, Row]]) -> Figure:
    rates: dict[str, est.Estimate] = {}
    cells = []
    met = sorted({tuple(sorted((one.better, one.worse))) for one in judged})
    for one, other in met:
        if one == "base alone":  # read as: how often the expert won
            one, other = other, one
        own = [j for j in judged if {j.better, j.worse} == {one, other}]
        outcomes = ((j.person, 2 if j.tie else int(j.better != one)) for j in own)
        counts = est.by_person(list(outcomes), (3,))  # wins, losses, ties
        wins, losses, ties = (int(number) for number in counts.sum(axis=0))
        # two arms of one experiment share the beginning of their names
        shared = f"{one.partition(': ')[0]}: " if ": " in one else ""
        name = f"{one} over {other.removeprefix(shared)}"
        [rates[name]] = est.estimated(counts, est.win_rate, len(own))
        decided = est.wilson(wins, wins + losses)
        cells.append(
            (name, wins, losses, ties, len(counts), *interval(rates[name]), *interval(decided))
        )
    bad = sum(vote["choice"] == "bad" for _, vote in pairs)
    named = sum(vote["unblinded"] for _, vote in pairs)
    return Figure(
        name="wins",
        title="Blinded comparisons: how often each won",
        svg=shares("wins", rates, "win rate (a tie is half)", "Win rates"),
        n=f"{_count(pairs)}; scored {len(judged):,}, both bad {bad:,}, unblinded {named:,}",
        rows="comparisons",
        which="those scored",
        head=(
            "pair", "won", "lost", "tie", "people", "win rate", "95 % (people)", "of decided",
            "95 % (Wilson)",
        ),
        cells=cells,
        note=RESAMPLED,
    )  # fmt: skip


def _strengths(judged: Sequence[Judged]) -> Figure:
    players = sorted({name for one in judged for name in (one.better, one.worse)})
    number = {name: place for place, name in enumerate(players)}
    rows = []
    for one in judged:
        rows.append((one.person, (number[one.better], number[one.worse])))
        back = (number[one.worse], number[one.better])
        rows.append((one.person, back if one.tie else rows[-1][1]))
    scores: dict[str, est.Estimate] = {}
    if judged:
        counts = est.by_person(rows, (len(players), len(players))) / 2
        games = counts.sum(axis=0)
        played = (games.sum(axis=0) + games.sum(axis=1)).astype(int)
        found = zip(players, est.estimated(counts, est.bradley_terry, 0), played, strict=True)
        ranked = sorted(found, key=lambda each: -each[1].value)
        scores = {name: replace(one, n=int(n)) for name, one, n in ranked}
    return Figure(
        name="strengths",
        title="Bradley–Terry scores",
        svg=forest("strengths", scores, "log-strength, mean 0", "Bradley-Terry scores"),
        n=f"n = {len(judged):,} comparisons among {len(players)}{_islands(judged, players)}",
        rows="comparisons",
        which="those scored",
        head=("player", "comparisons", "score", "95 % interval"),
        cells=[(name, one.n, *interval(one)) for name, one in scores.items()],
        note=f"A difference of 1 means odds of 2.7 to 1. Ties count half for each. {RESAMPLED}",
    )


def _islands(judged: Sequence[Judged], players: Sequence[str]) -> str:
    """Warn where some players met no others, so that their scores compare with nothing."""
    group = {name: name for name in players}
    for one in judged:
        old, new = group[one.better], group[one.worse]
        group = {name: new if place == old else place for name, place in group.items()}
    count = len(set(group.values()))
    return f"; {count} groups that never met, whose scores do not compare" if count > 1 else ""


def _position(pairs: Sequence[tuple[Row, Row]]) -> Figure:
    choices = Counter(vote["choice"] for _, vote in pairs)
    decided = choices["a"] + choices["b"]
    share = est.wilson(choices["a"], decided)
    seconds = [vote["seconds"] for _, vote in pairs]
    middle = float(np.median(seconds)) if seconds else float("nan")
    return Figure(
        name="position",
        title="Was the first one favoured?",
        svg=shares(
            "position",
            {"first shown": share} if decided else {},
            "share of decided votes",
            "Share of votes for the first",
        ),
        n=f"{_count(pairs)}, {decided:,} decided",
        rows="comparisons",
        which="choice a or b",
        head=("choice", "votes"),
        cells=[(name, choices[name]) for name in ("a", "b", "tie", "bad")],
        note=f"Order was drawn at random. Half of the votes were given within {middle:.3g} s.",
    )


def _detection(guesses: Sequence[tuple[Row, Row]]) -> Figure:
    manners = sorted({str(exposure["shown"][0]["expert"]) for exposure, _ in guesses})
    primes: dict[str, est.Estimate] = {}
    cells = []
    for manner in (*(["all"] * bool(guesses)), *manners):
        own = [
            (exposure, vote)
            for exposure, vote in guesses
            if manner in ("all", exposure["shown"][0]["expert"])
        ]
        rows = [
            (
                vote["pseudonym"],
                (vote["choice"] != "real") + 2 * (exposure["shown"][0]["kind"] != "real"),
            )
            for exposure, vote in own
        ]
        counts = est.by_person(rows, (4,))
        hits, misses, alarms, rejections = (int(number) for number in counts.sum(axis=0))
        if not (hits + misses and alarms + rejections):
            continue
        found = est.estimated(counts, est.detection, len(own))
        primes[manner] = found[0]
        shares = (f"{hits} of {hits + misses}", f"{alarms} of {alarms + rejections}")
        cells.append((manner, *shares, *(cell for one in found for cell in interval(one))))
    return Figure(
        name="detection",
        title="Real or generated: could people tell?",
        svg=forest("detection", primes, "d′ (0: cannot tell)", "d prime"),
        n=_count(guesses),
        rows="guesses",
        which="all",
        head=(
            "manner", "real called real", "generated called real", "d′", "95 %", "criterion c", "95 %",
            "discernment", "95 %",
        ),
        cells=cells,
        note="d′ and c with the log-linear correction; c above 0 leans to “generated”; discernment is "
        f"the difference of the two rates. {RESAMPLED}",
    )  # fmt: skip


def _confidence(guesses: Sequence[tuple[Row, Row]]) -> Figure:
    right: dict[str, est.Estimate] = {}
    for level in range(1, 7):
        own = [
            exposure["shown"][0]["kind"] == vote["choice"]
            for exposure, vote in guesses
            if vote["confidence"] == level
        ]
        if own:
            right[str(level)] = est.wilson(sum(own), len(own))
    return Figure(
        name="confidence",
        title="Were the sure ones right?",
        svg=shares("confidence", right, "share right", "Share right by confidence"),
        n=_count(guesses),
        rows="guesses",
        which="all, by confidence from 1 (a guess) to 6 (certain)",
        head=("confidence", "n", "share right", "95 % interval"),
        cells=[(level, one.n, *interval(one)) for level, one in right.items()],
        note="With Wilson's 95 % interval.",
    )

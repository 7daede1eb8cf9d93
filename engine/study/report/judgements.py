"""Figures of judgement: blinded comparisons, those of guesses, and what was found. Pure."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.study.export.codebook import Row, Tables
from engine.study.report import estimates as est
from engine.study.report.figures import Figure, count_of, interval
from engine.study.report.guesses import detected, detection
from engine.study.report.plots import forest, shares
from engine.study.report.primary import (
    Finding,
    arms_in_order,
    excluded,
    files_of,
    finding,
    preferred,
    told_apart,
    without,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """Hold one comparison that counts: `better` won over `worse`, or neither (`tie`)."""

    person: str
    better: str
    worse: str
    tie: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Hold what was judged: as the files' rules of exclusion leave it, and of everybody."""

    pairs: list[tuple[Row, Row]]
    guesses: list[tuple[Row, Row]]
    everybody: list[tuple[Row, Row]]
    first: list[str]

    @classmethod
    def of(cls, tables: Tables) -> "Evidence":
        votes = {row["exposure_id"]: row for row in tables["votes"] if row["counts"]}
        kept = {**tables, "exposures": without(tables["exposures"], excluded(tables))}
        files = files_of(tables)
        return cls(
            pairs=_with_votes(kept, votes, "compare"),
            guesses=_with_votes(kept, votes, "guess"),
            everybody=_with_votes(tables, votes, "compare"),
            first=[f"{name}: {arm}" for name in files for arm in arms_in_order(files[name])],
        )


def judgements(tables: Tables) -> list[Figure]:
    seen = Evidence.of(tables)
    judged = _all_judged(seen.pairs)
    return [
        _wins(seen),
        *_strengths(judged),
        _position(seen.pairs),
        detection(seen.guesses),
    ]


def findings(tables: Tables) -> list[Finding]:
    """Say of each experiment what was asked, and what came of it."""
    files, out = files_of(tables), excluded(tables)
    found = []
    for row in tables["experiments"]:
        name = row["id"]
        own = {**tables, "exposures": [e for e in tables["exposures"] if e["experiment"] == name]}
        seen = Evidence.of(own)
        left = sum(experiment == name for experiment, _ in out)
        found.append(finding(row, files[name], [*_preferences(seen), *_told(seen)], left))
    return found


def _preferences(seen: Evidence) -> list[str]:
    told = []
    for one, other, own in _met(_all_judged(seen.pairs), seen.first):
        counts = _outcomes(own, one)
        wins, losses, ties = counts.sum(axis=0)
        [rate] = est.estimated(counts[:, :2], est.share, int(wins + losses))
        told.append(preferred(one.partition(": ")[2], other.partition(": ")[2], rate, int(ties)))
    return told


def _told(seen: Evidence) -> list[str]:
    counts = detected(seen.guesses)
    if not len(counts) or not counts.sum(axis=0)[:2].sum() or not counts.sum(axis=0)[2:].sum():
        return []
    return [told_apart(est.estimated(counts, est.detection, len(seen.guesses))[0])]


def _all_judged(pairs: Sequence[tuple[Row, Row]]) -> list[Judged]:
    return [one for pair in pairs if (one := _judged(*pair)) is not None]


def _met(judged: Sequence[Judged], first: Sequence[str]) -> list[tuple[str, str, list[Judged]]]:
    """List who met whom: a treated arm before the base, else as the file has them."""

    def place(name: str) -> tuple[bool, int, str]:
        return name == "base alone", first.index(name) if name in first else len(first), name

    pairs = {tuple(sorted((one.better, one.worse), key=place)) for one in judged}
    return [
        (a, b, [one for one in judged if {one.better, one.worse} == {a, b}])
        for a, b in sorted(pairs)
    ]


def _outcomes(judged: Sequence[Judged], one: str) -> est.Floats:
    """Count wins of `one`, losses and ties by person."""
    outcomes = [(j.person, 2 if j.tie else int(j.better != one)) for j in judged]
    return est.by_person(outcomes, (3,))


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


def _wins(seen: Evidence) -> Figure:
    rates: dict[str, est.Estimate] = {}
    cells = []
    pairs, judged = seen.pairs, _all_judged(seen.pairs)
    everybody = {(a, b): own for a, b, own in _met(_all_judged(seen.everybody), seen.first)}
    found = {(a, b): own for a, b, own in _met(judged, seen.first)}
    for (one, other), all_of_them in everybody.items():
        own = found.get((one, other), [])
        # two arms of one experiment share the beginning of their names
        shared = f"{one.partition(': ')[0]}: " if ": " in one else ""
        name = f"{one} over {other.removeprefix(shared)}"
        counts = _outcomes(own, one)
        wins, losses, ties = (int(number) for number in counts.sum(axis=0))
        rates[name], of_decided, of_all = (
            est.estimated(table, statistic, n)[0]
            for table, statistic, n in (
                (counts, est.win_rate, len(own)),
                (counts[:, :2], est.share, wins + losses),
                (_outcomes(all_of_them, one), est.win_rate, len(all_of_them)),
            )
        )
        numbers = (name, wins, losses, ties, len(counts))
        three = (*interval(rates[name]), *interval(of_decided), *interval(of_all))
        cells.append((*numbers, *three))
    bad = sum(vote["choice"] == "bad" for _, vote in pairs)
    named = sum(vote["unblinded"] for _, vote in pairs)
    return Figure(
        name="wins",
        title="Blinded comparisons: how often each won",
        svg=shares("wins", rates, "win rate (a tie is half)", "Win rates"),
        n=f"{_count(pairs)}; scored {len(judged):,}, both bad {bad:,}, unblinded {named:,}",
        rows="comparisons",
        which="those scored, and not excluded in enrolments",
        head=(
            "pair", "won", "lost", "tie", "people", "win rate", "95 %", "of decided", "95 %",
            "win rate, everybody", "95 %",
        ),
        cells=cells,
        note="Without those whom an experiment's own rules exclude; the last two columns are with them. "
        f"{est.RESAMPLED}",
    )  # fmt: skip


def _strengths(judged: Sequence[Judged]) -> list[Figure]:
    """Draw one figure for all who met, however indirectly: across, scores compare with nothing."""
    islands = _islands(judged) or [[]]
    return [_island(judged, players, n) for n, players in enumerate(islands)]


def _island(judged: Sequence[Judged], players: Sequence[str], place: int) -> Figure:
    number = {name: at for at, name in enumerate(players)}
    own = [one for one in judged if one.better in number]
    rows = []
    for one in own:
        rows.append((one.person, (number[one.better], number[one.worse])))
        back = (number[one.worse], number[one.better])
        rows.append((one.person, back if one.tie else rows[-1][1]))
    scores: dict[str, est.Estimate] = {}
    if own:
        counts = est.by_person(rows, (len(players), len(players))) / 2
        games = counts.sum(axis=0)
        played = (games.sum(axis=0) + games.sum(axis=1)).astype(int)
        found = zip(players, est.estimated(counts, est.bradley_terry, 0), played, strict=True)
        ranked = sorted(found, key=lambda each: -each[1].value)
        scores = {name: replace(one, n=int(n)) for name, one, n in ranked}
    label = f"strengths-{place + 1}" if place else "strengths"
    among = f" of those who met {players[0]}" if place else ""
    return Figure(
        name=label,
        title=f"Bradley–Terry scores{among}",
        svg=forest(label, scores, "log-strength, mean 0", f"Bradley-Terry scores{among}"),
        n=f"n = {len(own):,} comparisons among {len(players)}",
        rows="comparisons",
        which="those scored",
        head=("player", "comparisons", "score", "95 % interval"),
        cells=[(name, one.n, *interval(one)) for name, one in scores.items()],
        note=f"A difference of 1 means odds of 2.7 to 1. Ties count half for each. {est.RESAMPLED}",
    )


def _islands(judged: Sequence[Judged]) -> list[list[str]]:
    group: dict[str, str] = {}
    for one in judged:
        old, new = (group.setdefault(name, name) for name in (one.better, one.worse))
        group = {name: new if place == old else place for name, place in group.items()}
    found: dict[str, list[str]] = {}
    for name in sorted(group):
        found.setdefault(group[name], []).append(name)
    return list(found.values())


def _position(pairs: Sequence[tuple[Row, Row]]) -> Figure:
    choices = Counter(vote["choice"] for _, vote in pairs)
    sides = [
        (vote["pseudonym"], vote["choice"] == "a") for _, vote in pairs if vote["choice"] in "ab"
    ]
    seconds = [vote["seconds"] for _, vote in pairs]
    paced = f" Half of the votes were given within {np.median(seconds):.3g} s." if seconds else ""
    return Figure(
        name="position",
        title="Was the first one favoured?",
        svg=shares(
            "position",
            {"first shown": est.share_by_person(sides)} if sides else {},
            "share of decided votes",
            "Share of votes for the first",
        ),
        n=f"{_count(pairs)}, {len(sides):,} decided",
        rows="comparisons",
        which="choice a or b",
        head=("choice", "votes"),
        cells=[(name, choices[name]) for name in ("a", "b", "tie", "bad")],
        note=f"Order was drawn by the study's key, balanced within each person.{paced}",
    )

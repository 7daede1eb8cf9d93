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
    """Hold the judged trials: as the files' rules of exclusion leave them, and of everybody."""

    pairs: list[Row]
    guesses: list[Row]
    everybody: list[Row]
    first: list[str]

    @classmethod
    def of(cls, tables: Tables) -> "Evidence":
        told = [row for row in tables["trials"] if row["choice"] and row["state"] != "void"]
        files, kept = files_of(tables), [row for row in told if not row["excluded"]]
        return cls(
            pairs=[row for row in kept if row["kind"] == "compare"],
            guesses=[row for row in kept if row["kind"] == "guess"],
            everybody=[row for row in told if row["kind"] == "compare"],
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
        own = {**tables, "trials": [e for e in tables["trials"] if e["experiment"] == name]}
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


def _all_judged(pairs: Sequence[Row]) -> list[Judged]:
    return [_judged(row) for row in pairs if row["scored"]]


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


def _judged(row: Row) -> Judged:
    names = [row["first"], row["second"]]
    if row["experiment"]:
        names = [f"{row['experiment']}: {name}" for name in names]
    better, worse = names[::-1] if row["choice"] == "b" else names
    tie = row["choice"] == "tie"
    return Judged(person=row["pseudonym"], better=better, worse=worse, tie=tie)


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
    bad = sum(row["choice"] == "bad" for row in pairs)
    named = sum(row["unblinded"] for row in pairs)
    return Figure(
        name="wins",
        title="Blinded comparisons: how often each won",
        svg=shares("wins", rates, "win rate (a tie is half)", "Win rates"),
        n=f"{count_of(pairs)}; scored {len(judged):,}, both bad {bad:,}, unblinded {named:,}",
        rows="trials",
        which="kind compare, scored, not excluded",
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
        rows="trials",
        which="kind compare, scored, not excluded",
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


def _position(pairs: Sequence[Row]) -> Figure:
    choices = Counter(row["choice"] for row in pairs)
    sides = [(row["pseudonym"], row["choice"] == "a") for row in pairs if row["choice"] in "ab"]
    seconds = [row["seconds"] for row in pairs]
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
        n=f"{count_of(pairs)}, {len(sides):,} decided",
        rows="trials",
        which="kind compare, choice a or b, not excluded",
        head=("choice", "votes"),
        cells=[(name, choices[name]) for name in ("a", "b", "tie", "bad")],
        note=f"Order was drawn by the study's key, balanced within each person.{paced}",
    )

"""Figures of judgement: blinded comparisons, those of guesses, and what was found. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.study.experiments.passages import pool_note
from engine.study.export.analysis import Line, agreed, strengths
from engine.study.export.codebook import Row, Tables, grouped
from engine.study.export.derived_columns import files_of
from engine.study.report import estimates as est
from engine.study.report.figures import Figure, count_of, forest, interval, shares
from engine.study.report.primary import Finding, excluded, finding, preferred, told_apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Hold the judged trials: as the files' rules of exclusion leave them, and of everybody."""

    pairs: list[Row]
    guesses: list[Row]
    everybody: list[Row]

    @classmethod
    def of(cls, tables: Tables) -> "Evidence":
        told = [row for row in tables["trials"] if row["choice"] and row["state"] != "void"]
        kept = [row for row in told if not row["excluded"]]
        return cls(
            pairs=[row for row in kept if row["kind"] == "compare"],
            guesses=[row for row in kept if row["kind"] == "guess"],
            everybody=told,
        )


def judgements(tables: Tables) -> list[Figure]:
    seen = Evidence.of(tables)
    scored = [row for row in seen.pairs if row["scored"]]
    # across islands, scores compare with nothing
    islands = [_island(scored, players, n) for n, players in enumerate(_islands(scored) or [[]])]
    figures = [_wins(seen), *islands, _position(seen.pairs), _detection(seen)]
    rated = [row for row in tables["annotations"] if not row["excluded"]]
    return [*figures, _agreement(rated)] if rated else figures


def findings(tables: Tables) -> list[Finding]:
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
    for (one, other), own in _met(seen.pairs).items():
        counts = _outcomes(own, one)
        wins, losses, ties = counts.sum(axis=0)
        [rate] = est.estimated(counts[:, :2], est.share, int(wins + losses))
        told.append(preferred(one.partition(": ")[2], other.partition(": ")[2], rate, int(ties)))
    return told


def _told(seen: Evidence) -> list[str]:
    counts = _detected(seen.guesses)
    if not len(counts) or not counts.sum(axis=0)[:2].sum() or not counts.sum(axis=0)[2:].sum():
        return []
    return [told_apart(est.estimated(counts, est.detection, len(seen.guesses))[0])]


def _names(row: Row) -> tuple[str, str]:
    """Name what stood first and second, arms with their experiment."""
    of = f"{row['experiment']}: " if row["experiment"] else ""
    return f"{of}{row['first']}", f"{of}{row['second']}"


def _met(rows: Sequence[Row]) -> dict[tuple[str, ...], list[Row]]:
    """Group scored pairs by who met whom: a treated arm before the base, else as the file has them."""

    def ranked(row: Row) -> tuple[str, ...]:
        ranks = row["first_rank"], row["second_rank"]
        return tuple(name for _, name in sorted(zip(ranks, _names(row), strict=True)))

    scored = (row for row in rows if row["scored"] and row["kind"] == "compare")
    return dict(sorted(grouped((ranked(row), row) for row in scored).items()))


def _outcomes(pairs: Sequence[Row], one: str) -> est.Floats:
    """Count by person how often `one` won and lost, and the ties."""
    won = [(row, _names(row)[row["choice"] == "b"] == one) for row in pairs]
    outcomes = [(row["pseudonym"], 2 if row["choice"] == "tie" else 1 - win) for row, win in won]
    return est.by_person(outcomes, (3,))


def _wins(seen: Evidence) -> Figure:
    rates: dict[str, est.Estimate] = {}
    cells = []
    pairs, found = seen.pairs, _met(seen.pairs)
    for (one, other), all_of_them in _met(seen.everybody).items():
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
    named, scored = (sum(row[name] for row in pairs) for name in ("unblinded", "scored"))
    return Figure(
        name="wins",
        title="Blinded comparisons: how often each won",
        svg=shares("wins", rates, "win rate (a tie is half)", "Win rates"),
        n=f"{count_of(pairs)}; scored {scored:,}, both bad {bad:,}, unblinded {named:,}",
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


def _island(scored: Sequence[Row], players: Sequence[str], place: int) -> Figure:
    own = [row for row in scored if _names(row)[0] in players]
    rows = []  # each twice, a tie once for either
    for row in own:
        both = first, second = players.index(_names(row)[0]), players.index(_names(row)[1])
        back = second, first
        one = back if row["choice"] == "b" else both
        rows += [(row["pseudonym"], one), (row["pseudonym"], back if row["choice"] != "a" else one)]
    scores, held = dict[str, est.Estimate](), _held(own)
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
        head=("player", "comparisons", "score", "95 % interval", "style held", "95 %"),
        cells=[
            (name, one.n, *interval(one), *(interval(held[name]) if name in held else ("", "")))
            for name, one in scores.items()
        ],
        note=f"A difference of 1 means odds of 2.7 to 1. Ties count half for each. {est.RESAMPLED} "
        "Style held: log-odds against the last arm, texts alike in length, paragraphs and punctuation.",
    )


def _held(own: Sequence[Row]) -> dict[str, est.Estimate]:
    """Estimate log-odds with style held equal, of each player against its experiment's last."""
    found: dict[str, est.Estimate] = {}
    for name in {row["experiment"] or "" for row in own}:  # plainly first, so the second stands
        lines = strengths(name, [row for row in own if (row["experiment"] or "") == name])
        found |= {of.partition(" over ")[0]: one for of, one in _estimates(lines).items()}
    return {name.removeprefix(": "): one for name, one in found.items()}


def _estimates(lines: Iterable[Line]) -> dict[str, est.Estimate]:
    return {
        of: est.Estimate(value=value, low=low, high=high, n=n, people=people)
        for _, of, value, low, high, n, people in lines
    }


def _islands(scored: Sequence[Row]) -> list[list[str]]:
    """Group all who met, however indirectly."""
    group: dict[str, str] = {}
    for row in scored:
        old, new = (group.setdefault(name, name) for name in _names(row))
        group = {name: new if place == old else place for name, place in group.items()}
    return list(grouped((group[name], name) for name in sorted(group)).values())


def _position(pairs: Sequence[Row]) -> Figure:
    choices = Counter(row["choice"] for row in pairs)
    sides = [(row["pseudonym"], row["choice"] == "a") for row in pairs if row["choice"] in "ab"]
    first = {"first shown": est.share_by_person(sides)} if sides else {}
    seconds = [row["seconds"] for row in pairs]
    paced = f" Half of the votes were given within {np.median(seconds):.3g} s." if seconds else ""
    return Figure(
        name="position",
        title="Was the first one favoured?",
        svg=shares("position", first, "share of decided votes", "Share of votes for the first"),
        n=f"{count_of(pairs)}, {len(sides):,} decided",
        rows="trials",
        which="kind compare, choice a or b, not excluded",
        head=("choice", "votes"),
        cells=[(name, choices[name]) for name in ("a", "b", "tie", "bad")],
        note=f"Order was drawn by the study's key, balanced within each person.{paced}",
    )


def _detected(guesses: Sequence[Row]) -> est.Floats:
    """Count hits, misses, false alarms and correct rejections by person."""
    rows = [
        (row["pseudonym"], (row["choice"] != "real") + 2 * (row["truth"] != "real"))
        for row in guesses
    ]
    return est.by_person(rows, (4,))


def _groups(guess: Row) -> tuple[str, ...]:
    """Name what a guess is counted in: all, its manner, its arm."""
    arm = (f"{guess['experiment']}: {guess['arm']}",) if guess["arm"] else ()
    return ("all", str(guess["first_expert"]), *arm)


def _detection(seen: Evidence) -> Figure:
    guesses, everybody = seen.guesses, [row for row in seen.everybody if row["kind"] == "guess"]
    names = sorted({(": " in name, name) for row in guesses for name in _groups(row)[1:]})
    primes: dict[str, est.Estimate] = {}
    cells = []
    for group in (*(["all"] * bool(guesses)), *(name for _, name in names)):
        own = [row for row in guesses if group in _groups(row)]
        counts = _detected(own)
        hits, misses, alarms, rejections = (int(number) for number in counts.sum(axis=0))
        if not (hits + misses and alarms + rejections):
            continue
        found = est.estimated(counts, est.detection, len(own))
        primes[group] = found[0]
        whole = [row for row in everybody if group in _groups(row)]
        found.append(est.estimated(_detected(whole), est.detection, len(whole))[0])
        shares = (f"{hits} of {hits + misses}", f"{alarms} of {alarms + rejections}")
        cells.append((group, *shares, *(cell for one in found for cell in interval(one))))
    return Figure(
        name="detection",
        title="Real or generated: could people tell?",
        svg=forest("detection", primes, "d′ (0: cannot tell)", "d prime"),
        n=count_of(guesses),
        rows="trials",
        which="kind guess, not void, not excluded",
        head=(
            "manner, or arm", "real called real", "generated called real", "d′", "95 %", "criterion c",
            "95 %", "discernment", "95 %", "d′, everybody", "95 %",
        ),
        cells=cells,
        note="d′ and c with the log-linear correction; c above 0 leans to “generated”; discernment is "
        f"the difference of the two rates. {est.RESAMPLED} Of the shipped pool: {pool_note()}",
    )  # fmt: skip


def _agreement(rated: Sequence[Row]) -> Figure:
    alphas = _estimates(agreed(rated))
    return Figure(
        name="agreement",
        title="Did those who rated agree?",
        svg=forest("agreement", alphas, "alpha (0: as by chance, 1: always)", "Alpha by question"),
        n=f"{count_of(rated)}, {len({row['item'] for row in rated}):,} items",
        rows="annotations",
        which="with a scale and a value, not excluded",
        head=("question, scale", "Krippendorff's alpha", "95 %", "answers", "raters"),
        cells=[(of, *interval(one), one.n, one.people) for of, one in alphas.items()],
        note="Of items that two or more rated; values of an ordinal or interval scale are the less "
        "alike the farther apart. 95 % intervals by leaving out one item after another.",
    )

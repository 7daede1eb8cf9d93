"""The figure of guesses: could people tell real from generated? Pure."""

from collections.abc import Sequence

from engine.study.experiments.passages import pool_note
from engine.study.export.codebook import Row
from engine.study.report import estimates as est
from engine.study.report.figures import Figure, count_of, interval
from engine.study.report.plots import forest


def detected(guesses: Sequence[Row]) -> est.Floats:
    """Count hits, misses, false alarms and correct rejections by person."""
    rows = [
        (row["pseudonym"], (row["choice"] != "real") + 2 * (row["truth"] != "real"))
        for row in guesses
    ]
    return est.by_person(rows, (4,))


def detection(guesses: Sequence[Row]) -> Figure:
    manners = sorted({str(row["first_expert"]) for row in guesses})
    primes: dict[str, est.Estimate] = {}
    cells = []
    for manner in (*(["all"] * bool(guesses)), *manners):
        own = [row for row in guesses if manner in ("all", row["first_expert"])]
        counts = detected(own)
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
        n=count_of(guesses),
        rows="trials",
        which="kind guess, not void, not excluded",
        head=(
            "manner", "real called real", "generated called real", "d′", "95 %", "criterion c", "95 %",
            "discernment", "95 %",
        ),
        cells=cells,
        note="d′ and c with the log-linear correction; c above 0 leans to “generated”; discernment is "
        f"the difference of the two rates. {est.RESAMPLED} Of the shipped pool: {pool_note()}",
    )  # fmt: skip

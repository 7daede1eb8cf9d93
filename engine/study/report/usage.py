"""Figures of use: who answered, and how it was liked. Pure."""

from collections import Counter
from collections.abc import Mapping, Sequence

from engine.study.export.codebook import Row, Tables, grouped
from engine.study.report.estimates import share_by_person
from engine.study.report.figures import Figure, bars, count_of, interval, shares
from engine.study.report.primary import excluded


def usage(tables: Tables) -> list[Figure]:
    rows, ratings = tables["interactions"], tables["ratings"]
    writers = {row["id"]: writer(row) for row in rows}
    out = excluded(tables)
    kept = [row for row in rows if (row["experiment"], row["pseudonym"]) not in out]
    arms = {row["id"]: f"{row['experiment']}: {row['arm']}" for row in kept if row["arm"]}
    return [
        _by_expert(rows),
        _thumbs("ratings", "Thumbs up", "expert", ratings, writers),
        _thumbs(
            "arm-ratings", "Thumbs up, by arm, without whom the rules exclude", "arm", ratings, arms
        ),
    ]


def writer(row: Row) -> str:
    return f"{row['expert']} (base alone)" if row["plain"] else str(row["expert"])


def _by_expert(rows: Sequence[Row]) -> Figure:
    counts = Counter(map(writer, rows))
    people = {name: {row["pseudonym"] for row in rows if writer(row) == name} for name in counts}
    ended = Counter((writer(row), row["state"]) for row in rows)
    states = sorted({row["state"] for row in rows})
    return Figure(
        name="experts",
        title="Who answered",
        svg=bars("experts", dict(counts.most_common()), "interactions", "Interactions by expert"),
        n=count_of(rows),
        rows="interactions",
        which="all",
        head=("expert", "interactions", "people", *states),
        cells=[
            (name, count, len(people[name]), *(ended[name, state] for state in states))
            for name, count in counts.most_common()
        ],
    )


def _thumbs(
    figure: str, title: str, what: str, ratings: Sequence[Row], groups: Mapping[str, str]
) -> Figure:
    told = [row for row in ratings if row["counts"] and row["value"]]
    counted = [row for row in told if row["interaction_id"] in groups]
    found = grouped((groups[row["interaction_id"]], row) for row in counted)
    rates, cells = {}, []
    for name, own in sorted(found.items()):
        up = sum(row["value"] > 0 for row in own)
        rates[name] = share_by_person([(row["pseudonym"], row["value"] > 0) for row in own])
        people = len({row["pseudonym"] for row in own})
        cells.append((name, up, len(own) - up, people, *interval(rates[name])))
    return Figure(
        name=figure,
        title=title,
        svg=shares(figure, rates, "share of thumbs up", f"Thumbs up by {what}"),
        n=count_of(counted),
        rows="ratings",
        which="those that count",
        head=(what, "👍", "👎", "people", "share", "95 % interval"),
        cells=cells,
        note="95 % intervals by drawing whole people anew.",
    )

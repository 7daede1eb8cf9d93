"""The figures of the report: picture, numbers, n, and which rows were counted; plots as inline SVG.

Their colours are the page's own, so that they follow light and dark.
"""

import io
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from engine.study.export.codebook import Row
from engine.study.report.estimates import Estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Cells = Sequence[Sequence[Any]]
WIDTH = 4.8  # inches: about a telephone's width, so that letters keep their size there
ROW = 0.42  # inches of a line of a chart with lines
# Colours that stand for the page's variables; each is used for one thing only.
INK, SOFT, GRID = "#010203", "#040506", "#070809"
SERIES = ("#0a0b0c", "#0d0e0f", "#101112", "#131415", "#161718", "#191a1b", "#1c1d1e")
VARIABLES = {
    INK: "--ink",
    SOFT: "--soft",
    GRID: "--grid",
    **{colour: f"--s{number}" for number, colour in enumerate(SERIES, 1)},
}
STYLE = {
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 13,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "grid.color": GRID,
    "figure.facecolor": "none",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """Name in `rows` the export's table that was counted, in `which` its rows; `svg` may be empty."""

    name: str
    title: str
    svg: str
    n: str
    rows: str
    which: str
    head: Sequence[str]
    cells: Cells
    note: str = ""


def count_of(rows: Sequence[Row]) -> str:
    people = len({row["pseudonym"] for row in rows})
    return f"n = {len(rows):,} of {people:,} people"


def figure_html(figure: Figure) -> str:
    picture = figure.svg or '<p class="empty">No rows yet.</p>'
    note = f"<p>{escape(figure.note)}</p>" if figure.note else ""
    numbers = (
        "<details><summary>The numbers</summary>"
        f"{table_html(figure.head, figure.cells, figure.title)}</details>"
        if figure.cells
        else ""
    )
    return (
        f'<figure id="{figure.name}"><h3>{escape(figure.title)}</h3>{picture}<figcaption>{note}'
        f'<p class="n"><b>{escape(figure.n)}</b> · the rows behind it: <code>{figure.rows}</code>'
        f" of the export, {escape(figure.which)}</p></figcaption>{numbers}</figure>"
    )


def table_html(head: Sequence[str], cells: Cells, caption: str) -> str:
    top = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in cells)
    name = escape(caption)
    return (
        f'<div class="wide" role="region" tabindex="0" aria-label="{name}"><table>'
        f"<caption>{name}</caption><thead><tr>{top}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def _cell(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return f"<td>{escape('' if value is None else str(value))}</td>"
    shown = f"{value:,}" if isinstance(value, int) else short(value)
    return f'<td class="number">{shown}</td>'


def short(value: float) -> str:
    """Write a number with three significant digits.

    >>> short(0.01234), short(12.5), short(float("nan"))
    ('0.0123', '12.5', '–')
    """
    return "–" if value != value else f"{value:.3g}"


def interval(one: Estimate) -> tuple[float, str]:
    """Write an estimate as two cells: 0.5, and "0.4 to 0.6"."""
    told = f"{short(one.low)} to {short(one.high)}" if one.low < one.high else "–"
    return one.value, told


def draw(
    name: str,
    height: float,
    unit: str,
    paint: Callable[["Axes"], None],
    about: str,
    parts: Iterable[str],
) -> str:
    """Draw one pair of axes as SVG; `about` and `parts` are read to those who cannot see it."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({**STYLE, "svg.hashsalt": name}):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots()
        paint(axes)
        axes.set_xlabel(unit)
        axes.grid(axis="x", linewidth=0.6)
        axes.tick_params(length=0)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(file.getvalue(), f"{about}: {'; '.join(parts)}.")


def _inline(svg: str, about: str) -> str:
    body = svg[svg.index("<svg") :]
    for start, end in (("<metadata>", "</metadata>"), ("<!--", "-->")):
        first, *parts = body.split(start)
        body = first + "".join(part.partition(end)[2].lstrip() for part in parts)
    body = re.sub(r'<g id="[^"]*"', "<g", body)
    body = re.sub(r"font: (?:\w+ )?([\d.]+)px [^;\"]*", r"font-size: \1px", body)
    for colour, variable in VARIABLES.items():
        body = body.replace(colour, f"var({variable})")
    view = re.search(r'viewBox="[^"]*"', body)
    assert view is not None, "matplotlib writes one"
    head = f'<svg {view[0]} role="img" aria-label="{escape(about)}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    return head + body[body.index(">") + 1 :]


def bars(name: str, values: Mapping[str, float], unit: str, about: str) -> str:
    """Draw horizontal bars, one a name, each with its number; nothing without values."""
    if not values:
        return ""

    def paint(axes: "Axes") -> None:
        found = axes.barh(list(values), list(values.values()), color=SERIES[0], height=0.62)
        axes.bar_label(found, fmt="{:,.0f}", padding=3, color=INK)
        axes.invert_yaxis()
        axes.margins(x=0.12)

    parts = (f"{label} {value:,.0f}" for label, value in values.items())
    return draw(name, 0.9 + ROW * len(values), unit, paint, about, parts)


def stacked(
    name: str, places: Sequence[str], parts: Mapping[str, Sequence[float]], unit: str, about: str
) -> str:
    """Stack lying bars; `parts` maps a series to its number at each place. Nothing without parts."""
    if not parts:
        return ""
    colours = dict(zip(parts, itertools.cycle(SERIES), strict=False))

    def paint(axes: "Axes") -> None:
        done = [0.0] * len(places)
        for label, values in parts.items():
            axes.barh(places, values, left=done, color=colours[label], label=label, height=0.62)
            done = [base + value for base, value in zip(done, values, strict=True)]
        axes.invert_yaxis()

    sums = (f"{label} {sum(values):,.0f}" for label, values in parts.items())
    key = "".join(
        f'<li><i style="background:var({VARIABLES[colour]})"></i>{escape(label)}</li>'
        for label, colour in colours.items()
    )
    picture = draw(name, 1.0 + ROW * len(places), unit, paint, f"{about}; in all", sums)
    return f'<ul class="key">{key}</ul>{picture}'


def shares(name: str, rows: Mapping[str, Estimate], unit: str, about: str) -> str:
    return forest(name, rows, unit, about, middle=0.5, ends={0: "0%", 1: "100%"})


def forest(
    name: str,
    rows: Mapping[str, Estimate],
    unit: str,
    about: str,
    *,
    middle: float = 0,
    ends: Mapping[float, str] | None = None,
) -> str:
    """Draw points with 95 % intervals; `ends` maps the ends of a scale, shown whole, to their words."""
    if not rows:
        return ""

    def paint(axes: "Axes") -> None:
        for number, one in enumerate(rows.values()):
            axes.plot([one.low, one.high], [number, number], color=SERIES[0], linewidth=2.2)
            axes.plot([one.value], [number], marker="o", markersize=6, color=SERIES[0])
        axes.axvline(middle, color=SOFT, linewidth=1, linestyle=(0, (4, 3)))
        axes.set_yticks(
            range(len(rows)), [f"{label}\nn = {one.n:,}" for label, one in rows.items()]
        )
        axes.set_ylim(len(rows) - 0.5, -0.5)
        if ends:
            axes.set_xlim(min(ends), max(ends))
            axes.set_xticks(
                [*ends, middle], [*ends.values(), f"{middle:g}" if max(ends) > 1 else "50%"]
            )
            axes.get_xticklabels()[0].set_horizontalalignment("left")
            axes.get_xticklabels()[1].set_horizontalalignment("right")

    parts = (
        f"{label} {short(one.value)}, 95 % interval {interval(one)[1]}, n {one.n:,}"
        for label, one in rows.items()
    )
    return draw(name, 1.1 + 0.6 * len(rows), unit, paint, about, parts)

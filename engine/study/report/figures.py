"""One figure of the report: its picture, its numbers, its n, and which rows it was made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from engine.study.export.codebook import Row
from engine.study.report.estimates import Estimate

Cells = Sequence[Sequence[Any]]


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

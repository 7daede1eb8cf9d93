"""The report's plots."""

from pathlib import Path
from typing import Any

INCHES = (6.0, 3.6)


def matrix_chart(path: Path, matrix: dict[str, Any]) -> None:
    from matplotlib.figure import Figure

    authors = list(next(iter(matrix.values())))
    values = [[row[author]["bits_per_byte"] for author in authors] for row in matrix.values()]
    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.subplots()
    # Each column has its own scale: authors differ more than models do.
    lows = [min(column) for column in zip(*values, strict=True)]
    shades = [[v / low for v, low in zip(row, lows, strict=True)] for row in values]
    axes.imshow(shades, cmap="Blues_r", aspect="auto")
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            best = value == lows[column]
            ink, weight = ("white", "bold") if best else ("black", "normal")
            axes.text(
                column, row, f"{value:.3f}", ha="center", va="center", color=ink, weight=weight
            )
    axes.set_xticks(range(len(authors)), authors)
    axes.set_yticks(range(len(matrix)), list(matrix))
    axes.set_xlabel("held-out text of")
    axes.set_title("Bits per byte (lower is better; the best of each column in white)")
    figure.savefig(path, dpi=110)


def style_chart(path: Path, style: dict[str, Any], ceiling: dict[str, float]) -> None:
    from matplotlib.figure import Figure

    authors = list(style)
    bars = {
        "base": [style[a]["base"][a] for a in authors],
        "expert": [style[a][a][a] for a in authors],
        "real held-out text": [ceiling[a] for a in authors],
    }
    figure = Figure(figsize=INCHES, layout="constrained")
    axes = figure.subplots()
    width = 0.27
    for number, (label, heights) in enumerate(bars.items()):
        axes.bar(
            [x + (number - 1) * width for x in range(len(authors))], heights, width, label=label
        )
    axes.set_xticks(range(len(authors)), authors)
    axes.set_ylim(0, 1.05)
    axes.set_title("Share assigned to the target author")
    axes.legend(fontsize="small", ncols=len(bars), loc="upper center", bbox_to_anchor=(0.5, -0.1))
    figure.savefig(path, dpi=110)

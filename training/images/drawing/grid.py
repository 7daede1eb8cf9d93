"""Contact sheets: pictures in a grid, columns and rows with their words, as one PNG."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from engine.files import whole_file

GAP = 8
MARGIN = 16
SMALLEST, LARGEST = 192, 384  # pixels a cell
LETTER = 15  # pixels
INK, PAPER = (32, 32, 32), (255, 255, 255)


def sheet(
    rows: Sequence[Sequence[Image.Image]], columns: Sequence[str], labels: Sequence[str]
) -> Image.Image:
    """Lay pictures in a grid; `columns` stand above, each row's label below it, wrapped."""
    font = ImageFont.load_default(LETTER)
    cell = min(LARGEST, max(SMALLEST, max(picture.width for row in rows for picture in row)))
    width = 2 * MARGIN + len(columns) * (cell + GAP) - GAP
    letters = max(20, int((width - 2 * MARGIN) / (LETTER * 0.55)))
    wrapped = [[spaced(line) for line in textwrap.wrap(label, letters)] for label in labels]
    line = LETTER + 4
    heights = [cell + GAP + line * len(lines) + MARGIN for lines in wrapped]
    page = Image.new("RGB", (width, MARGIN + line + GAP + sum(heights)), PAPER)
    pen = ImageDraw.Draw(page)
    for column, words in enumerate(columns):
        pen.text((MARGIN + column * (cell + GAP), MARGIN), spaced(words), INK, font)
    top = MARGIN + line + GAP
    for row, lines, height in zip(rows, wrapped, heights, strict=True):
        for column, picture in enumerate(row):
            page.paste(fitted(picture, cell), (MARGIN + column * (cell + GAP), top))
        for number, text in enumerate(lines):
            pen.text((MARGIN, top + cell + GAP + number * line), text, INK, font)
        top += height
    return page


def spaced(words: str) -> str:
    """Widen the spaces: those of Pillow's own font are too narrow to see."""
    return words.replace(" ", "  ")


def fitted(picture: Image.Image, cell: int) -> Image.Image:
    small = picture.copy()
    scale = cell / max(small.size)
    size = (max(1, round(small.width * scale)), max(1, round(small.height * scale)))
    small = small.resize(size, Image.Resampling.LANCZOS)
    square = Image.new("RGB", (cell, cell), PAPER)
    square.paste(small, ((cell - size[0]) // 2, (cell - size[1]) // 2))
    return square


def save_png(picture: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        picture.save(part, format="PNG", optimize=True)

"""Pictures in a terminal: two pixels to a cell, upper and lower half block."""

import io

from rich.console import Console
from rich.style import Style
from rich.text import Text

HALF = "▀"
COLUMNS = 40
COLOURFUL = ("truecolor", "256")


def can_show(console: Console) -> bool:
    return console.is_terminal and console.color_system in COLOURFUL and "utf" in console.encoding


def blocks(picture: bytes, columns: int = COLUMNS) -> Text:
    """Draw a PNG or JPEG as lines of half blocks, at most `columns` wide."""
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as opened:
        image = opened.convert("RGB")
    width = min(columns, image.width)
    height = max(2, round(image.height * width / image.width / 2) * 2)
    image = image.resize((width, height))
    drawn = Text(no_wrap=True)
    for y in range(0, height, 2):
        for x in range(width):
            upper, lower = _colour(image.getpixel((x, y))), _colour(image.getpixel((x, y + 1)))
            drawn.append(HALF, Style(color=upper, bgcolor=lower))
        drawn.append("\n")
    return drawn


def _colour(pixel: object) -> str:
    red, green, blue = pixel if isinstance(pixel, tuple) else (0, 0, 0)
    return f"#{red:02x}{green:02x}{blue:02x}"

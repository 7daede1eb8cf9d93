"""A sheet for a person: a share of the captions beside their pictures, and a table to fill in."""

import csv
import html
import io
import random
import shutil
from pathlib import Path
from typing import Any

from engine.files import write_file
from training.captioning.tables import CaptionTable
from training.museum.retention import WORK

REVIEW = "review"
SHEET = "sheet.html"
TABLE = "review.csv"
COLUMNS = ("file_name", "flags", "right", "what_is_wrong", "better_caption")
HEAD = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Captions to review</title>
<style>body{font:16px/1.4 system-ui;max-width:60rem;margin:2rem auto;padding:0 1rem}
article{display:grid;grid-template-columns:18rem 1fr;gap:1.5rem;margin:2rem 0}
img{max-width:100%;height:auto}h2{font-size:1rem;margin:0}.flags{color:#a00}
small{color:#666}</style><h1>Captions to review</h1>
<p>Is every material, stone and setting in the caption to be seen in the picture? Is anything plain
to see left out? Fill in <code>review.csv</code> beside this file: <code>right</code> with yes or no.</p>
"""


def drawn(rows: list[dict[str, Any]], table: CaptionTable) -> list[dict[str, Any]]:
    """Choose the captions to look at: flagged ones up to half the share, then others by the seed."""
    number = min(len(rows), max(table.review_least, round(len(rows) * table.review_share)))
    order = list(rows)
    random.Random(table.seed).shuffle(order)
    order.sort(  # those with a flag beyond the captioner's own doubts first
        key=lambda row: all(flag.startswith("uncertain") for flag in row["flags"])
    )
    chosen = {row["file_name"] for row in order[: (number + 1) // 2]}  # flagged ones: half at most
    rest = [row for row in rows if row["file_name"] not in chosen]
    random.Random(table.seed).shuffle(rest)
    chosen |= {row["file_name"] for row in rest[: number - len(chosen)]}
    return [row for row in rows if row["file_name"] in chosen]


def write_sheet(
    data: Path, rows: list[dict[str, Any]], known: dict[str, Any], table: CaptionTable
) -> Path:
    """Write sheet and table; `known` are the catalogue's lines by file name."""
    folder = data / WORK / REVIEW
    folder.mkdir(parents=True, exist_ok=True)
    chosen = drawn(rows, table)
    cards = "".join(card(row, known.get(row["file_name"], {})) for row in chosen)
    write_file(folder / SHEET, f"{HEAD}{cards}</html>\n")
    keep_filled(folder / TABLE)
    write_file(folder / TABLE, csv_of(chosen))
    return folder / SHEET


def card(row: dict[str, Any], known: dict[str, Any]) -> str:
    text = {key: html.escape(str(value)) for key, value in row.items()}
    flags = html.escape("; ".join(row["flags"]))
    catalogue = html.escape(str(known.get("text") or known.get("title") or ""))
    return (
        f'<article><img src="../../{text["file_name"]}" alt=""><div><h2>{text["file_name"]}</h2>'
        f"<p>{text['caption']}</p><p><small>short: {text['caption_short']}</small></p>"
        f'<p class="flags">{flags}</p><p><small>catalogue: {catalogue}</small></p></div></article>\n'
    )


def csv_of(rows: list[dict[str, Any]]) -> str:
    """Write the table to fill in; a cell never begins like a formula."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COLUMNS)
    for row in rows:
        flags = "; ".join(row["flags"])
        writer.writerow(
            [row["file_name"], f"'{flags}" if flags[:1] in "=+-@" else flags, "", "", ""]
        )
    return text.getvalue()


def keep_filled(path: Path) -> None:
    """Put a table that was filled in aside, so that a second run does not overwrite it."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", newline="") as file:
        filled = any(row.get("right") for row in csv.DictReader(file))
    if filled:
        shutil.copy2(path, path.with_suffix(".filled.csv"))

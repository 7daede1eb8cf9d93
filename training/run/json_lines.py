"""Read and write files of one JSON object a line."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.files import append, write_file


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read the objects of a file; a last line that a kill cut short is cut off."""
    if not path.exists():
        return []
    whole, _, rest = path.read_bytes().rpartition(b"\n")
    if rest:
        with path.open("r+b") as file:
            file.truncate(len(whole) + 1 if whole else 0)
    return [json.loads(line) for line in whole.decode("utf-8").split("\n") if line]


def add_lines(path: Path, *rows: Mapping[str, Any]) -> None:
    """Add objects to a file, on disk before this returns."""
    append(path, lines_of(rows))


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file as a whole."""
    write_file(path, lines_of(rows))


def lines_of(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

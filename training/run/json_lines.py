"""Read and write files of one JSON object a line, and read texts."""

import codecs
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from engine.files import append, write_file
from training.errors import BadCorpus


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
    write_file(path, lines_of(rows))


def lines_of(rows: Iterable[Mapping[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_words(path: Path) -> str:
    """Read a text in UTF-8, or in the Unicode encoding that its first bytes name; else BadCorpus."""
    body = path.read_bytes()
    marked = body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return body.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = body[: error.start].count(b"\n") + 1
        raise BadCorpus(
            f"{path.name}, line {line}: not UTF-8. Save it as UTF-8, for example with "
            "`iconv -f WINDOWS-1252 -t UTF-8`."
        ) from error

"""Write files so that a kill at any moment leaves the old one or the new one, never half."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_text(path: Path, text: str) -> None:
    """Replace a file as a whole."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file as a whole, readable and with stable key order."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """A folder to fill; it takes the name `path` only when filled, replacing an older one.

    A kill between the two renames leaves the old one as `.old`; the next call puts it back first.
    """
    old = path.with_name(path.name + ".old")
    if old.exists() and not path.exists():
        old.replace(path)
    part = path.with_name(path.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    yield part
    for file in part.rglob("*"):
        if file.is_file():
            with file.open("rb") as handle:
                os.fsync(handle.fileno())
    if path.exists():
        shutil.rmtree(old, ignore_errors=True)
        path.replace(old)
        part.replace(path)
        shutil.rmtree(old)
    else:
        part.replace(path)

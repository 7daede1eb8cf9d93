"""The museum's pictures and texts go together when their time is over.

What is not the museum's stays: ids, addresses, hashes, and captions that a model wrote. Every
stage prunes when it starts; a small process waits for the hour, one for each data folder.
"""

import fcntl
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from training.errors import BadCorpus
from training.museum.metadata_rows import (
    CAPTIONS,
    IMAGES,
    LASTING,
    LOCK,
    METADATA,
    MOST_DAYS,
    RIGHTS,
    expiry_of,
    read_rows,
)
from training.run.expiry import leave_behind, wait_for
from training.run.json_lines import write_lines

CATALOGUE = "catalogue"  # the captioner that repeats the museum's own words
WORK = "captions"  # a captioner's working folder in a data folder
WATCH = ".watch.lock"


def prune(data: Path, now: float) -> int:
    """Delete what is due in a data folder; gives the number of pictures that went."""
    rows = rows_here(data)
    due = {row["file_name"] for row in rows if is_due(row, now)}
    days = retention_of(data)
    if days is not None:  # pictures without a line, too: a harvest may have been broken off
        due |= {
            f"{IMAGES}/{path.name}"
            for path in (data / IMAGES).glob("*")
            if path.stat().st_mtime + days * 86400 <= now
        }
    if not due:
        return 0
    # Texts first: a kill in between leaves pictures, which are due at the next start all the same.
    if rows:
        kept = []
        for row in rows:
            if row["file_name"] in due:  # what may last, without the museum's texts
                row = {key: row[key] for key in LASTING if key in row}
                row |= {"text": "", "pruned": True}
            kept.append(row)
        write_lines(data / METADATA, kept)
    prune_captions(data, due)
    for name in due:
        (data / name).unlink(missing_ok=True)
    return len(due)


def rows_here(data: Path) -> list[dict[str, Any]]:
    """Read a folder's lines; none where they are another's and of another shape."""
    try:
        return read_rows(data / METADATA)
    except (FileNotFoundError, BadCorpus):
        return []


def prune_captions(data: Path, gone: set[str]) -> None:
    """Take out captions in the museum's words."""
    path = data / CAPTIONS
    if path.exists():
        kept = [
            row
            for row in read_rows(path)
            if row["file_name"] not in gone or row.get("captioner") != CATALOGUE
        ]
        write_lines(path, kept)


def retention_of(data: Path) -> float | None:
    """Count the days a folder's content may stay; None for one without a limit.

    Rights that cannot be read count as the museum's four weeks.
    """
    try:
        rights = json.loads((data / RIGHTS).read_text(encoding="utf-8"))
        return float(rights.get("retention_days") or 0) or None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError):
        return MOST_DAYS


def due_of(row: dict[str, Any]) -> float | None:
    """Tell when a line's time is over (seconds since 1970); None if it is over or has no end."""
    return None if "pruned" in row else expiry_of(row)


def is_due(row: dict[str, Any], now: float) -> bool:
    due = due_of(row)
    return due is not None and due <= now


def next_due(data: Path) -> float | None:
    """Tell when the next picture is due (seconds since 1970); None when none is left."""
    times = [due for row in rows_here(data) if (due := due_of(row)) is not None]
    days = retention_of(data)
    if days is not None:
        times += [path.stat().st_mtime + days * 86400 for path in (data / IMAGES).glob("*")]
    return min(times, default=None)


def prune_all(runs: Path, now: float) -> int:
    """Prune every data folder under `runs`; gives the number of pictures that went."""
    marks = [path for name in (RIGHTS, LOCK) for path in runs.glob(f"*/*/{name}")]
    return sum(prune(folder, now) for folder in sorted({path.parent for path in marks}))


def wait_and_prune(
    data: Path,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Prune each time something is due, until nothing is left; one waiter a folder is enough."""
    with (data / WATCH).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        wait_for(lambda: next_due(data), lambda: prune(data, clock()), clock, sleep)


def watch(data: Path) -> None:
    """Start the process that prunes a folder when it is due, even if this one is killed."""
    leave_behind("training.museum.retention", str(data.resolve()))


if __name__ == "__main__":
    wait_and_prune(Path(sys.argv[1]))

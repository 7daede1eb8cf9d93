"""Texts that may lie here for a limited time only: stamped folders that are deleted when due.

A folder is stamped before the first text goes in. Every stage deletes what is due when it starts,
and a small process of its own waits for the hour, so that no later run is needed. After a restart
of the machine in between, the next stage (or `python -m training.purge`) does it.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from engine.files import write_json
from training.errors import NotAllowed

STAMP = "expires.json"
START_SECONDS = 30.0  # for the shell that leaves the guard behind


def stamp(folder: Path, hours: float, now: float) -> float:
    """Mark a folder as due in `hours`; the earliest stamp stands. Gives the due time."""
    due = due_of(folder)
    if due is None or now + hours * 3600 < due:
        due = now + hours * 3600
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / STAMP, {"due": due})
    return due


def stamp_until(folder: Path, due: float | None) -> None:
    """Mark a folder as due at a time, if there is one."""
    if due is not None:
        stamp(folder, max(0.0, due - time.time()) / 3600, time.time())


def due_of(folder: Path) -> float | None:
    """Tell when a folder is due (seconds since 1970), or None for one without a stamp."""
    try:
        return float(json.loads((folder / STAMP).read_text(encoding="utf-8"))["due"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return 0.0  # a stamp that cannot be read: better gone than kept too long


def purge(root: Path, now: float) -> list[Path]:
    """Delete every stamped folder below `root` that is due; gives what was deleted."""
    gone = []
    # Not rglob: it fails when another purger takes a folder away under it.
    for folder in sorted(Path(place) for place, _, names in os.walk(root) if STAMP in names):
        due = due_of(folder)
        if due is not None and due <= now:
            delete(folder)
            gone.append(folder)
    return gone


def delete(folder: Path) -> None:
    """Delete a folder, its stamp last, though somebody else may too: what a kill leaves is still due."""
    while folder.exists():
        with suppress(FileNotFoundError):
            for path in list(folder.iterdir()):
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != STAMP:
                    path.unlink(missing_ok=True)
            (folder / STAMP).unlink(missing_ok=True)
            folder.rmdir()


def guard(folder: Path) -> None:
    """Start a process that deletes what is due in a folder, even if this one is killed."""
    # Through a shell that ends at once, so that nobody is left to wait for the process.
    line = '"$0" -m training.purge --wait "$1" >/dev/null 2>&1 </dev/null &'
    command = ("sh", "-c", line, sys.executable, str(folder.resolve()))
    subprocess.run(command, start_new_session=True, check=True, timeout=START_SECONDS)


def require_fresh(due: float | None, now: float) -> None:
    """Raise NotAllowed when texts that were due at some time may no longer be used."""
    if due is not None and due <= now:
        raise NotAllowed(
            "The texts of this run have reached the end of the time they may be kept, and are "
            "deleted. Fetch them anew: `python -m training.corpus RECIPE`, or training.harvest_vam."
        )

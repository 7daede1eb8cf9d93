"""Delete texts and museum pictures whose time is over."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from engine.lock import take_lock
from training.museum.retention import ends_of, prune
from training.run.expiry import due_of, purge
from training.run.stage import RunsFolder, delete_due, run_stage, say

WATCH = ".watch.lock"
LONGEST_SLEEP = 600.0  # seconds


def next_due(folder: Path) -> float | None:
    """Tell when a folder, or a picture in it, is due (seconds since 1970)."""
    ends = (due_of(folder), *(end for end, _ in ends_of(folder)))
    return min((end for end in ends if end is not None), default=None)


def wait_and_purge(
    folder: Path,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Delete each time something is due, until nothing is left; one waiter a folder is enough."""
    lock = take_lock(folder, Path(), WATCH) if folder.exists() else None
    if lock is None:
        return
    with lock:
        while (due := next_due(folder)) is not None:
            if (remaining := due - clock()) > 0:
                sleep(min(remaining, LONGEST_SLEEP))
            else:
                purge(folder, clock())
                prune(folder, clock())


def main(
    runs: RunsFolder = Path("runs"),
    wait: Annotated[
        Path | None, typer.Option("--wait", help="Wait until this folder is due, then delete it")
    ] = None,
) -> None:
    """Delete texts and museum pictures whose time is over."""
    if wait is not None:
        wait_and_purge(wait)
        return
    gone, pictures = delete_due(runs)
    also = f" and {pictures} museum picture{'s' if pictures != 1 else ''}" if pictures else ""
    say(f"Deleted {gone} expired folder{'s' if gone != 1 else ''}{also}.")


if __name__ == "__main__":
    run_stage(main)

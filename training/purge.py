"""Delete texts and museum pictures whose time is over.

python -m training.purge --runs runs
"""

import time
from pathlib import Path
from typing import Annotated

import typer

from training.museum.retention import prune_all
from training.run.expiry import purge, wait_and_purge
from training.run.stage import RunsFolder, run_stage, say


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
    now = time.time()
    gone, pictures = len(purge(runs, now)), prune_all(runs, now)
    also = f" and {pictures} museum picture{'s' if pictures != 1 else ''}" if pictures else ""
    say(f"Deleted {gone} expired folder{'s' if gone != 1 else ''}{also}.")


if __name__ == "__main__":
    run_stage(main)

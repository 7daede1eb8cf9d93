"""Delete texts whose time is over.

python -m training.purge --runs runs
"""

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from training.expiry import purge, wait_and_purge
from training.stage import RunsFolder, run_stage


def main(
    runs: RunsFolder = Path("runs"),
    wait: Annotated[
        Path | None, typer.Option("--wait", help="Wait until this folder is due, then delete it")
    ] = None,
) -> None:
    """Delete texts whose time is over."""
    if wait is not None:
        wait_and_purge(wait)
        return
    gone = purge(runs, time.time())
    Console().print(f"Deleted {len(gone)} expired folder{'s' if len(gone) != 1 else ''}.")


if __name__ == "__main__":
    run_stage(main)

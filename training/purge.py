"""Delete texts and museum pictures whose time is over."""

from pathlib import Path
from typing import Annotated

import typer

from training.run.expiry import wait_and_purge
from training.run.stage import RunsFolder, delete_due, run_stage, say


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

"""`pastiche log`: requests with their prompts, experts and answers, as one table."""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from bot.exit_codes import logged
from engine import shutdown
from engine.study.export.log import beginning_of, check_out, write_log

app = typer.Typer()


@app.command("log")
def log_command(
    since: Annotated[
        str, typer.Option(help="So long ago (12h, 7d, 4w), or a day: 2026-11-20.")
    ] = "7d",
    out: Annotated[Path, typer.Option(help="The file: .parquet, .csv or .jsonl.")] = Path(
        "log.parquet"
    ),
    replace: Annotated[bool, typer.Option("--replace", help="In an older file's place.")] = False,
) -> None:
    """Requests with their prompts, experts and answers, as one table.

    Each with its rule, evidence, runners-up, digests, output and timings.
    Of the terminal here, and of people whose consent to a study holds: those scrubbed, as in its export.
    The column `blanked` names what is gone; PASTICHE_TERMINAL_HOURS keeps the terminal's words longer.
    """
    with logged("log") as settings:
        from rich.console import Console

        out, now = out.expanduser().absolute(), time.time()
        beginning = beginning_of(since, now)
        check_out(out, settings, replace=replace)
        with Console(stderr=True).status("Reading the ledger") as status:

            def told(count: int) -> None:
                status.update(f"Reading the ledger: {count:,} requests")

            done = shutdown.run(write_log(settings, out, beginning, told))
        sys.stdout.write(_told(out, done, settings.terminal_hours))


def _told(out: Path, done: Mapping[str, int], hours: int) -> str:
    lines = [
        f"{out}: {done['terminal']} requests of the terminal, {done['people']} of people who agreed."
    ]
    if done["blanked"]:
        lines.append(
            f"Of {done['blanked']} some words are gone (column `blanked`). The terminal's stay {hours} "
            "hours; PASTICHE_TERMINAL_HOURS keeps them longer from now on."
        )
    return "\n".join(lines) + "\n"

"""One script for a GPU day: `make gpu`, or `python -m tests.benchmarks gpu --help`.

It builds random models of the true shapes on the device, runs the tests marked `gpu`, and measures what
the product does there: stories, pictures, training. Nothing is fetched, no shipped weight or settings
file is read. Each part has a limit of its own and its failure is told without stopping the rest; a part
whose packages are missing is skipped by name. `--tiny` runs every line of it on a processor.
"""

import os
from argparse import ArgumentParser, Namespace
from pathlib import Path

from tests.benchmarks.figures import RESULTS, Figure
from tests.benchmarks.gpu.day import Day

OPTIONS = ArgumentParser("python -m tests.benchmarks gpu")
OPTIONS.add_argument("--tiny", action="store_true", help="tiny shapes: a dry run, on any machine")
OPTIONS.add_argument("--seconds", type=int, default=480, help="for all parts together")
OPTIONS.add_argument(
    "--json", type=Path, default=RESULTS / "gpu_day.json", help="written anew often"
)
OPTIONS.add_argument("--only", default="", help="parts by name, with commas between them")


def run(folder: Path, options: Namespace | None = None) -> list[Figure]:
    """Every part in order of worth, as far as the time goes."""
    from tests.benchmarks.gpu.parts import PARTS

    os.environ["HF_HUB_OFFLINE"] = "1"  # nothing is fetched, whatever a library would like
    options = options or OPTIONS.parse_args([])
    day = Day(folder, options.json, options.seconds, tiny=options.tiny)
    if day.device != "cuda" and not options.tiny:
        print("There is no accelerator here; --tiny tries the script without one.")
        return []
    only = [name for name in options.only.split(",") if name]
    if unknown := set(only) - {part.name for part in PARTS}:
        raise SystemExit(f"There is no part {unknown}. There are: {[part.name for part in PARTS]}")
    for part in PARTS:
        if not only or part.name in only:
            day.do(part)
    day.end()
    return []  # the day's own table and file say more

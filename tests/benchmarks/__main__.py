"""Run the benchmarks: `make bench`, or `python -m tests.benchmarks queue_latency` for some of them.

One with options of its own takes them after its name: `python -m tests.benchmarks soak --help`.
"""

import importlib
import pkgutil
import sys
import tempfile
from itertools import takewhile
from pathlib import Path

from rich.console import Console
from rich.table import Table

import tests.benchmarks as here
from engine.errors import CommandError
from tests.benchmarks.figures import Figure, write

NOT_BENCHMARKS = (
    "__main__", "capacity_model", "figures", "hops", "mixed_ways", "sentences", "surface",
)  # fmt: skip


def main() -> None:
    """Each in turn, on a data folder of its own; a table on screen and a JSON file each."""
    known = [m.name for m in pkgutil.iter_modules(here.__path__) if m.name not in NOT_BENCHMARKS]
    names = list(takewhile(known.__contains__, sys.argv[1:]))
    options = sys.argv[1 + len(names) :]
    if options and len(names) != 1:
        if not options[0].startswith("-"):
            sys.exit(f"There is no benchmark {options[0]}. There are: {', '.join(known)}")
        sys.exit("Options go with one benchmark: python -m tests.benchmarks NAME --help")
    wanted = names or known
    console = Console()
    table = Table("benchmark", "figure", "value", "against", "wall s", "CPU s")
    for name in wanted:
        console.print(f"running {name} …", style="dim")
        module = importlib.import_module(f"tests.benchmarks.{name}")
        with tempfile.TemporaryDirectory() as folder:
            given = module.OPTIONS.parse_args(options) if hasattr(module, "OPTIONS") else None
            if options and given is None:
                sys.exit(f"{name} has no options.")
            try:
                figures: list[Figure] = module.run(Path(folder), *([given] if given else []))
            except CommandError as error:
                sys.exit(str(error))
        if figures:
            write(name, figures)
        for f in figures:
            row = (
                f"{f.value:,.0f} {f.unit}" if f.value >= 1e4 else f"{f.value:.4g} {f.unit}",
                f.against,
                f"{f.wall_seconds:.2f}",
                f"{f.cpu_seconds:.2f}",
            )
            table.add_row(name, f.name, *row)
    if table.rows:
        console.print(table)


if __name__ == "__main__":
    main()

"""Run the benchmarks: `make bench`, or `python -m tests.benchmarks queue_latency` for some of them."""

import importlib
import pkgutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

import tests.benchmarks as here
from tests.benchmarks.figures import Figure, write

NOT_BENCHMARKS = ("__main__", "capacity_model", "figures", "mixed_ways")


def main() -> None:
    """Each in turn, on a data folder of its own; a table on screen and a JSON file each."""
    known = [m.name for m in pkgutil.iter_modules(here.__path__) if m.name not in NOT_BENCHMARKS]
    wanted = sys.argv[1:] or known
    if unknown := set(wanted) - set(known):
        sys.exit(f"There is no benchmark {', '.join(unknown)}. There are: {', '.join(known)}")
    console = Console()
    table = Table("benchmark", "figure", "value", "against", "wall s", "CPU s")
    for name in wanted:
        console.print(f"running {name} …", style="dim")
        module = importlib.import_module(f"tests.benchmarks.{name}")
        with tempfile.TemporaryDirectory() as folder:
            figures: list[Figure] = module.run(Path(folder))
        write(name, figures)
        for f in figures:
            row = (
                f"{f.value:.4g} {f.unit}",
                f.against,
                f"{f.wall_seconds:.2f}",
                f"{f.cpu_seconds:.2f}",
            )
            table.add_row(name, f.name, *row)
    console.print(table)


if __name__ == "__main__":
    main()

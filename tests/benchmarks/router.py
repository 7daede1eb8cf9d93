"""How many wishes without a keyword go where they were meant, and what that costs on one core.

The wishes were written by somebody else before the router's last step; it was developed on others
(`--wishes docs/evaluation/router_development.tsv`).
"""

import argparse
import csv
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from engine.files import BUILT_IN
from engine.plan.cards import Registry
from engine.plan.router import route
from engine.plan.semantic import SHIPPED, VECTORS, Encoder, Semantic, key_of, off_topic
from tests.benchmarks.figures import Figure, clock, middle, percentile

DOCS = Path(__file__).parents[2] / "docs" / "evaluation"
OPTIONS = argparse.ArgumentParser(prog="python -m tests.benchmarks router", description=__doc__)
OPTIONS.add_argument("--wishes", type=Path, default=DOCS / "router_wishes.tsv")
OPTIONS.add_argument(
    "--encode", action="store_true", help="encode the built-in cards' examples, to be committed"
)
START = (
    "import time; from engine.plan.semantic import Semantic\n"
    "from engine.files import BUILT_IN; from engine.plan.cards import Registry\n"
    "cards = Registry.load([BUILT_IN], 'embedded').experts; began = time.perf_counter()\n"
    "assert Semantic().nearest('It rained.', cards)\n"
    "print(time.perf_counter() - began)"
)
Row = dict[str, str]


def run(folder: Path, options: argparse.Namespace | None = None) -> list[Figure]:
    """Show where the wishes went; then the time of a wish, and of a start with the vectors there."""
    options = options or OPTIONS.parse_args([])
    path = options.wishes
    if options.encode:
        cards = Registry.load([BUILT_IN], "embedded").experts
        every = [*off_topic(), *(e for card in cards for e in card.routing.examples)]
        keys = np.array([key_of(e) for e in every], dtype=np.uint64)
        np.savez(SHIPPED / VECTORS, keys=keys, vectors=Encoder().encode(every).astype(np.float16))
        return [Figure(name="examples encoded", value=len(every), unit="examples")]
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    semantic, cards = Semantic(), Registry.load([BUILT_IN], "embedded")
    if not semantic.nearest("It rained.", cards.experts):
        sys.exit("The router's encoder is not installed.")
    figures = _counted(rows, cards, semantic)
    taken = []
    for row in rows:
        with clock() as spent:
            route("story", row["wish"], None, cards, semantic, free=True)
        taken.append(1e3 * spent.cpu)
    for name, value in (("median", middle(taken)), ("95th percentile", percentile(taken, 0.95))):
        figures.append(Figure(name=f"CPU a wish, {name}", value=value, unit="ms", against="< 10"))
    starts = [_start() for _ in range(3)]
    figures.append(
        Figure(name="first wish of a process", value=min(starts), unit="s", against="< 0.3")
    )
    return figures


def _counted(rows: Sequence[Row], cards: Registry, semantic: Semantic) -> list[Figure]:
    """Show the confusion table and give the shares."""
    names = [e.name for e in cards.experts if e.routing.examples]
    went: dict[str, Counter[str]] = {}
    by_rule: Counter[str] = Counter()
    for row in rows:
        chosen = route("story", row["wish"], None, cards, semantic, free=True)
        by_rule[chosen.rule] += 1
        to = "default" if chosen.rule == "default" else chosen.expert
        went.setdefault(row["expert"], Counter())[to] += 1
    columns = [*names, "default"]
    table = Table("meant", *columns)
    for meant in sorted(went, key=lambda m: (m == "none", m not in names, m)):
        table.add_row(meant, *(str(went[meant][column] or "·") for column in columns))
    Console(width=140).print(table, dict(by_rule))
    real = [meant for meant in went if meant in names]
    total = sum(went[meant].total() for meant in real)
    right = sum(went[meant][meant] for meant in real)
    abstained = went["none"]["default"] / went["none"].total()
    lost = sum(went[meant]["default"] for meant in real)
    return [
        Figure(name=f"right of {total}", value=100 * right / total, unit="%", against="90"),
        Figure(name="abstained on those", value=100 * lost / total, unit="%"),
        Figure(name="abstained off topic", value=100 * abstained, unit="%", against="80"),
    ]


def _start() -> float:
    command = [sys.executable, "-c", START]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

"""Random pairs of jobs that meet in one engine: how many are, to the letter, what each is alone.

Float32 is to be all of them; in bfloat16 products of other shapes round otherwise. The first
that differ are printed, jobs and answers. The short form is tests/test_pairs.py.
"""

import argparse
import random
import sys
from pathlib import Path

from engine.plan.cards import Registry
from tests.benchmarks.figures import Figure, clock

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tiny layouts lie beside the tests

LAYOUTS = ("llama", "gemma2", "gemma3")
WAYS = ("mixing fp32", "mixing bf16", "peft", "server")
SHOWN = 3  # of the pairs that differ
EXPERTS = ("moss", "fern", "reed")
EMBEDDED = ("lovecraft", "agatha", "newsroom")
OPTIONS = argparse.ArgumentParser(prog="pairs", description=__doc__)
OPTIONS.add_argument("--pairs", type=int, default=200, help="of each layout and way (200)")
OPTIONS.add_argument("--ways", nargs="+", default=WAYS, choices=WAYS)
OPTIONS.add_argument("--layouts", nargs="+", default=LAYOUTS, choices=LAYOUTS)
OPTIONS.add_argument("--seed", type=int, default=1)
OPTIONS.add_argument(
    "--embedded", action="store_true", help="on the embedded base and its experts, not tiny ones"
)


def run(folder: Path, options: argparse.Namespace) -> list[Figure]:
    """Equal pairs, by layout and way."""
    from job_pairs import differences, draw_pair, settings_for

    from tests.benchmarks.mixed_ways import prepared

    home = prepared(folder).parents[1] if options.embedded else folder / "home"
    figures = []
    for layout, registry, experts in _registries(folder, options):
        draw = random.Random(options.seed)
        pairs = [draw_pair(draw, number, experts) for number in range(options.pairs)]
        for way in options.ways:
            with clock() as taken:
                odd = differences(settings_for(home, way), registry, pairs)
            print(*odd[:SHOWN], sep="\n", flush=True)
            figures.append(
                Figure(
                    name=f"{layout}, {way}: pairs that are each alone",
                    value=len(pairs) - len(odd),
                    unit="pairs",
                    against=f"of {len(pairs)}",
                    wall_seconds=taken.wall,
                    cpu_seconds=taken.cpu,
                )
            )
            print(figures[-1], flush=True)
    return figures


def _registries(
    folder: Path, options: argparse.Namespace
) -> list[tuple[str, Registry, tuple[str, ...]]]:
    from job_pairs import registry_of
    from tiny_layouts import make_layouts

    from tests.benchmarks.mixed_ways import adapter_of, prepared

    if options.embedded:
        adapters = {name: adapter_of(name) for name in EMBEDDED}
        registry = registry_of(folder / "experts", prepared(folder), adapters)
        return [("embedded", registry, EMBEDDED)]
    root = make_layouts(folder, tuple(options.layouts))
    made = []
    for layout in options.layouts:
        adapters = {name: root / f"{layout}-{name}" for name in EXPERTS}
        registry = registry_of(root / f"{layout}-experts", root / layout, adapters)
        made.append((layout, registry, EXPERTS))
    return made

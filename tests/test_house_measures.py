"""The house keeps its measures: `python -m tests.benchmarks house` has all of them."""

import argparse
from pathlib import Path

from tests.benchmarks import house


def test_chains_folders_files_and_names_stay_within_their_limits(tmp_path: Path) -> None:
    root = Path(__file__).parents[1]
    found = house.run(tmp_path, argparse.Namespace(root=root, no_hops=True))
    measured = {figure.name.partition(",")[0]: figure.value for figure in found}
    assert measured["longest import chain"] <= 14
    assert measured["fullest folder"] <= 16
    assert measured["longest file"] <= 300
    assert measured["longest function"] <= 40
    assert measured["modules named by a gerund"] <= 3
    assert measured["circles in functions and for types too"] == 0
    assert measured["lines"] <= 50_000

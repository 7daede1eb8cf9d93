"""Measurements by hand: `make bench`. Never timed tests: the machine may be shared."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the tests' helpers know one another by name

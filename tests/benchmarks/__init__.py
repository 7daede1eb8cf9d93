"""Measurements by hand: `make bench`. Never timed tests: the machine may be shared."""

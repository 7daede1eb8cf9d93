"""Passages for /guess: real ones that are free to show, and generated ones, each with its source."""

"""Measure whether an expert has learnt its author's manner, and only the manner; one question a file."""

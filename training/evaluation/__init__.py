"""Has an expert learnt its author's manner, and only the manner? One question a file."""

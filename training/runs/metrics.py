"""A run's log of figures, one JSON line a step, that an interruption leaves consistent."""

import json
from pathlib import Path

from training.runs.json_lines import read_lines, write_lines

LOG = "metrics.jsonl"


class Log:
    """Append to `metrics.jsonl`; of several processes only one writes."""

    def __init__(self, run: Path, step: int, writes: bool = True) -> None:
        """Open the log of a run that stands at `step`: lines an interruption took back go."""
        self.path, self.writes = run / LOG, writes
        if writes:
            write_lines(
                self.path, [row for row in read_lines(self.path) if row["step"] <= step > 0]
            )

    def write(self, **figures: float) -> None:
        if self.writes:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")

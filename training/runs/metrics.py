"""A run's log of figures, one JSON line a step, that an interruption leaves consistent."""

import json
from pathlib import Path

from training.runs.atomic import write_text

LOG = "metrics.jsonl"


class Log:
    """Appends to `metrics.jsonl`; of several processes only one writes."""

    def __init__(self, run: Path, step: int, writes: bool = True) -> None:
        """Open the log of a run that stands at `step`: lines an interruption took back go."""
        self.path = run / LOG
        self.writes = writes
        if writes:
            write_text(self.path, "".join(kept_lines(self.path, step)) if step else "")

    def write(self, **figures: float) -> None:
        """Add one line."""
        if self.writes:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(figures) + "\n")


def kept_lines(path: Path, step: int) -> list[str]:
    """The whole lines of steps up to this one."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [line + "\n" for line in lines if is_whole(line) and json.loads(line)["step"] <= step]


def is_whole(line: str) -> bool:
    """Whether a line was written to its end."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True

"""A run's log of figures, one JSON line a step, that an interruption leaves consistent."""

import json
from pathlib import Path

from training.atomic import write_text


def open_log(run: Path, step: int) -> Path:
    """The run's log, without lines of steps that an interruption took back."""
    path = run / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if is_whole(line) and json.loads(line).get("step", 0) <= step]
    write_text(path, "".join(line + "\n" for line in kept) if step else "")
    return path


def is_whole(line: str) -> bool:
    """Whether a log line was written to its end."""
    try:
        json.loads(line)
    except ValueError:
        return False
    return True


def write_line(log: Path, **figures: float) -> None:
    """Add one line of figures to the log."""
    with log.open("a", encoding="utf-8") as file:
        file.write(json.dumps(figures) + "\n")

"""A day's calls to a service, counted by us, since the service's own counter is not reliable."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from engine.files import write_json
from training.errors import SourceFault


def today() -> str:
    return datetime.now(UTC).date().isoformat()


class Quota:
    """Count a call before it is made, so that a kill never forgets one."""

    def __init__(self, path: Path, per_day: int, day: Callable[[], str] = today) -> None:
        self.path = path
        self.per_day = per_day
        self.day = day

    @property
    def spent(self) -> int:
        try:
            entry = json.loads(self.path.read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return 0
        return int(entry["calls"]) if entry.get("day") == self.day() else 0

    def spend(self) -> None:
        """Count one call; raises SourceFault when the day's are used up."""
        spent = self.spent
        if spent >= self.per_day:
            raise SourceFault(
                f"Today's {self.per_day} calls are used up. Run the same command again after "
                "midnight UTC; it goes on from where it stopped."
            )
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.path, {"day": self.day(), "calls": spent + 1})

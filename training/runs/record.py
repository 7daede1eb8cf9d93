"""`run.json`: what a run was made of and what came out, as digests and figures, never paths."""

import json
import platform
import subprocess
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol

from training.runs.atomic import write_json
from training.runs.tables import Rights, Run

GIT_SECONDS = 60.0
PACKAGES = ("torch", "transformers", "diffusers", "peft", "accelerate", "bitsandbytes", "datasets")


class Recorded(Protocol):
    """What a record needs of any recipe."""

    @property
    def run(self) -> Run:
        """Name and seed."""

    @property
    def rights(self) -> Rights:
        """Why its material may be used."""

    @property
    def digest(self) -> str:
        """sha256 of what it says."""

    def recorded(self) -> dict[str, Any]:
        """Its values without places on this machine."""


def note_stage(folder: Path, recipe: Recorded, stage: str, facts: dict[str, Any]) -> None:
    """Add one finished stage to the run's record."""
    path = folder / "run.json"
    record = read_record(folder)
    record |= {
        "name": recipe.run.name,
        "recipe": recipe.recorded(),
        "rights": recipe.rights.model_dump(mode="json"),
        "seed": recipe.run.seed,
    }
    stages = record.setdefault("stages", {})
    stages[stage] = {
        "finished": now(),
        "recipe_digest": recipe.digest,
        **surroundings(),
        **facts,
    }
    write_json(path, record)


def read_record(folder: Path) -> dict[str, Any]:
    """The run's record so far; empty when there is none."""
    path = folder / "run.json"
    if not path.exists():
        return {}
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return record


def surroundings() -> dict[str, Any]:
    """Commit, package versions and machine kind."""
    return {"commit": commit(), "packages": packages(), "platform": platform.platform()}


def packages() -> dict[str, str]:
    """Versions of the packages that decide a result."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The checkout's commit, with `+` for uncommitted changes; empty outside a checkout."""
    here = Path(__file__).parent
    try:
        head = git("rev-parse", "HEAD", folder=here)
        return head + ("+" if git("status", "--porcelain", "--", ".", folder=here) else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def git(*words: str, folder: Path) -> str:
    """What a git command prints."""
    answer = subprocess.run(
        ("git", "-C", str(folder), *words),
        capture_output=True,
        text=True,
        check=True,
        timeout=GIT_SECONDS,
    )
    return answer.stdout.strip()


def now() -> str:
    """The time of day in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def digest_of_file(path: Path) -> str:
    """sha256 of a file."""
    return "sha256:" + sha256(path.read_bytes()).hexdigest()

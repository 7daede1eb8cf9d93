"""`run.json`: what a run was made of and what came out, as digests and figures, never paths."""

import json
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engine.files import write_json
from training.run.recipe import RunRecipe

RECORD = "run.json"
GIT_SECONDS = 60.0
PACKAGES = ("torch", "transformers", "diffusers", "peft", "accelerate", "bitsandbytes", "datasets")


def note_stage(folder: Path, recipe: RunRecipe, stage: str, facts: dict[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    record = read_record(folder) | {
        "name": recipe.run.name,
        "recipe": recipe.recorded(),
        "rights": recipe.rights.model_dump(mode="json"),
        "seed": recipe.run.seed,
    }
    stages = record.setdefault("stages", {})
    if stage.startswith("train_") and facts.get("outputs") != stages.get(stage, {}).get("outputs"):
        stages.pop(stage.replace("train", "evaluate"), None)  # it is of the weights before
    stages[stage] = {
        "finished": now(),
        "recipe_digest": recipe.digest,
        "commit": commit(),
        "packages": packages(),
        "platform": platform.platform(),
        **facts,
    }
    write_json(folder / RECORD, record)


def read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return record


def packages() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def commit() -> str:
    """Name the checkout's commit, with `+` for uncommitted changes; empty outside a checkout."""
    git = ("git", "-C", str(Path(__file__).parents[1]))
    options: Any = {"capture_output": True, "text": True, "check": True, "timeout": GIT_SECONDS}
    try:
        head: str = subprocess.run((*git, "rev-parse", "HEAD"), **options).stdout.strip()
        changed = subprocess.run((*git, "status", "--porcelain", "--", "."), **options).stdout
        return head + ("+" if changed.strip() else "")
    except (OSError, subprocess.SubprocessError):
        return ""


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def digest_of_file(path: Path) -> str:
    return "sha256:" + sha256(path.read_bytes()).hexdigest()

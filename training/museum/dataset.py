"""The data folder: one JSON line a picture, the rights it is under, and a lock file.

images/<id>.jpg   metadata.jsonl   rights.json   harvest.lock.json   dropped.jsonl
"""

from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from engine.files import write_json
from training.museum.harvest_recipe import HarvestRecipe
from training.museum.metadata_rows import LOCK, RIGHTS
from training.web.http_client import release

DROPPED = "dropped.jsonl"


def moment(seconds: float) -> str:
    """Write a time since 1970 in UTC, to the second.

    >>> moment(0)
    '1970-01-01T00:00:00+00:00'
    """
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


def write_rights(data: Path, recipe: HarvestRecipe) -> None:
    """Lay the rights beside the pictures, so that no other recipe can forget them."""
    data.mkdir(parents=True, exist_ok=True)
    rights = recipe.rights.model_dump(mode="json")
    write_json(data / RIGHTS, rights | {"retention_days": recipe.retention_days})


def root_of(files: dict[str, str]) -> str:
    """Hash a set of files: sha256 over sorted lines of `sha256  file_name`.

    >>> root_of({"a": "1", "b": "2"}) == root_of({"b": "2", "a": "1"})
    True
    """
    lines = "".join(sorted(f"{digest}  {name}\n" for name, digest in files.items()))
    return "sha256:" + sha256(lines.encode()).hexdigest()


def write_lock(
    data: Path,
    recipe: HarvestRecipe,
    rows: list[dict[str, Any]],
    counts: dict[str, int],
    robots: dict[str, str],
) -> str:
    """Write down what this data set is, without a word of the museum's; gives the root hash."""
    files = {row["file_name"]: row["sha256"] for row in rows}
    objects = sorted({row["system_number"] for row in rows}, key=lambda number: int(number[1:]))
    lock = {
        "tool": f"pastiche {release()}",
        "search": recipe.harvest.model_dump(mode="json", exclude={"seconds_between"}),
        "search_digest": recipe.search_digest,
        "record_counts": counts,
        "objects": objects,
        "files": files,
        "root": root_of(files),
        "fetched_from": min((row["fetched_at"] for row in rows), default=""),
        "fetched_to": max((row["fetched_at"] for row in rows), default=""),
        "robots": robots,
        "terms_url": recipe.rights.terms_url,
        "terms_read_on": str(recipe.rights.terms_read_on or ""),
    }
    write_json(data / LOCK, lock)
    return str(lock["root"])

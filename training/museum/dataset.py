"""Write the rights and the lock of a data folder, and compare it with its lock and the museum."""

import json
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.progress import track

from engine.files import write_json
from training.errors import BadCorpus
from training.museum.api import MuseumClient
from training.museum.harvest_recipe import HarvestRecipe
from training.museum.metadata_rows import LOCK
from training.museum.retention import rows_here
from training.web.http_client import NoAnswer, release

DROPPED = "dropped.jsonl"
Findings = dict[str, list[str]]


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


def root_of(files: dict[str, str]) -> str:
    """Hash a set of files: sha256 over sorted lines of `sha256  file_name`."""
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


def read_lock(data: Path) -> dict[str, Any]:
    try:
        lock: dict[str, Any] = json.loads((data / LOCK).read_text(encoding="utf-8"))
        files = dict(lock["files"])
    except FileNotFoundError as error:
        raise BadCorpus(
            f"There is no {LOCK} to compare with. Run `python -m training.harvest_vam RECIPE` first."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadCorpus(
            f"{LOCK} cannot be read. Run the harvest again to write it anew."
        ) from error
    if root_of(files) != lock.get("root"):
        raise BadCorpus(
            f"{LOCK} was changed by hand: its root hash does not fit its files. Run the harvest "
            "again to write it anew."
        )
    return lock


def verify_folder(data: Path) -> Findings:
    """List pictures that are missing or altered; none of them is an expired one."""
    files = read_lock(data)["files"]
    pruned = {row["file_name"] for row in rows_here(data) if row.get("pruned")}
    found: Findings = {"missing": [], "altered": [], "expired": []}
    for name, digest in files.items():
        path = data / name
        if not path.exists():
            found["expired" if name in pruned else "missing"].append(name)
        elif sha256(path.read_bytes()).hexdigest() != digest:
            found["altered"].append(name)
    return found


def verify_museum(data: Path, client: MuseumClient, etags: dict[str, str]) -> Findings:
    """Ask for every picture again, by its ETag where one is known; nothing is written."""
    found: Findings = {"gone": [], "changed": []}
    files = read_lock(data)["files"]
    for row in track(rows_here(data), "asking the museum"):
        name = row["file_name"]
        try:
            answer = client.ask(row["iiif_url"], etags.get(row["image_id"], ""))
        except NoAnswer as fault:  # the others are asked for all the same
            found["gone"].append(f"{name} ({fault})")
            continue
        if answer.status_code == 304:
            continue
        if answer.status_code != 200:
            found["gone"].append(f"{name} ({answer.status_code})")
        elif sha256(answer.content).hexdigest() != files.get(name):
            found["changed"].append(name)
    return found

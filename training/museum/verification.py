"""Compare a data folder with its lock file, and the lock file with the museum."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from rich.progress import track

from training.errors import BadCorpus
from training.museum.dataset import root_of
from training.museum.metadata_rows import LOCK
from training.museum.response_cache import MuseumClient
from training.museum.retention import rows_here

Findings = dict[str, list[str]]


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
        if path.exists():
            if sha256(path.read_bytes()).hexdigest() != digest:
                found["altered"].append(name)
        else:
            found["expired" if name in pruned else "missing"].append(name)
    return found


def verify_museum(data: Path, client: MuseumClient, etags: dict[str, str]) -> Findings:
    """Ask for every picture again, by its ETag where one is known; nothing is written."""
    found: Findings = {"gone": [], "changed": []}
    files = read_lock(data)["files"]
    for row in track(rows_here(data), "asking the museum"):
        name = row["file_name"]
        answer = client.ask(row["iiif_url"], etags.get(row["image_id"], ""))
        if answer.status_code == 304:
            continue
        if answer.status_code != 200:
            found["gone"].append(f"{name} ({answer.status_code})")
        elif sha256(answer.content).hexdigest() != files.get(name):
            found["changed"].append(name)
    return found

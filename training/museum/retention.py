"""The museum's pictures and texts go together when their time is over.

What is not the museum's stays: ids, addresses, hashes, and captions that a model wrote. Every
stage prunes when it starts; a small process waits for the hour, one for each data folder.
"""

import json
from pathlib import Path
from typing import Any

from training.errors import BadCorpus
from training.museum.metadata_rows import (
    CAPTIONS,
    IMAGES,
    LASTING,
    LOCK,
    METADATA,
    MOST_DAYS,
    RIGHTS,
    expiry_of,
    read_rows,
)
from training.run.json_lines import write_lines


def prune(data: Path, now: float) -> int:
    """Delete what is due in a data folder; gives the number of pictures that went."""
    due = {name for end, name in ends_of(data) if end <= now}
    # Texts first: a kill in between leaves pictures, which are due at the next start all the same.
    if due and (rows := rows_here(data)):
        kept = []
        for row in rows:
            if row["file_name"] in due:  # what may last, without the museum's texts
                row = {key: row[key] for key in LASTING if key in row}
                row |= {"text": "", "pruned": True}
            kept.append(row)
        write_lines(data / METADATA, kept)
    if due and (data / CAPTIONS).exists():  # some of an older version's are the museum's words
        captions = [
            row for row in read_rows(data / CAPTIONS) if row.get("captioner") != "catalogue"
        ]
        write_lines(data / CAPTIONS, captions)
    for path in (data / name for name in due):
        if path.parent.resolve().is_relative_to(
            data.resolve()
        ):  # a line may lead out of the folder
            path.unlink(missing_ok=True)
    return len(due)


def rows_here(data: Path) -> list[dict[str, Any]]:
    """Read a folder's lines; none where they are another's and of another shape."""
    try:
        return read_rows(data / METADATA)
    except (FileNotFoundError, BadCorpus):
        return []


def retention_of(data: Path) -> float | None:
    """Count the days a folder's content may stay, or None; the museum's if it cannot be read."""
    try:
        rights = json.loads((data / RIGHTS).read_text(encoding="utf-8"))
        return float(rights.get("retention_days") or 0) or None
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError):
        return MOST_DAYS


def ends_of(data: Path) -> list[tuple[float, str]]:
    """Tell when each picture that is here must be gone (seconds since 1970)."""
    lines = [(expiry_of(row), row["file_name"]) for row in rows_here(data) if "pruned" not in row]
    ends = [(end, name) for end, name in lines if end is not None]
    days = retention_of(data)
    if days is not None:  # pictures without a line, too: a harvest may have been broken off
        for path in filter(Path.is_file, (data / IMAGES).glob("*")):
            ends.append((path.stat().st_mtime + days * 86400, f"{IMAGES}/{path.name}"))
    return ends


def prune_all(runs: Path, now: float) -> int:
    """Prune every data folder under `runs`; gives the number of pictures that went."""
    marks = [path for name in (RIGHTS, LOCK) for path in runs.glob(f"*/*/{name}")]
    return sum(prune(folder, now) for folder in sorted({path.parent for path in marks}))

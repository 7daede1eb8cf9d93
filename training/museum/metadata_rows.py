"""Read the lines of a folder of pictures with care, and tell when their time is over."""

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.errors import BadCorpus
from training.run.json_lines import read_words

METADATA = "metadata.jsonl"
CAPTIONS = "metadata_gpt4.jsonl"
RIGHTS = "rights.json"
LOCK = "harvest.lock.json"
IMAGES = "images"
LONGEST_NAME = 255  # bytes of a file's name
MOST_DAYS = 28.0  # the V&A's terms: nothing may be kept for "more than four weeks"
# What may stay when the museum's texts and pictures go: ids, addresses, hashes, sizes, times.
LASTING = (
    "file_name", "source_url", "iiif_url", "record_url", "system_number", "accession_number",
    "image_id", "sha256", "dhash", "colours", "bytes", "width", "height", "matched_terms",
    "record_modified", "fetched_at", "expires_at",
)  # fmt: skip


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file; raises BadCorpus naming the line at fault."""
    rows = []
    for number, line in enumerate(read_words(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            name = str(row.get("file_name") or row["file"])
            if b"\0" in os.fsencode(name) or len(os.fsencode(Path(name).name)) > LONGEST_NAME:
                raise ValueError("no file can have this name")
            rows.append({**row, "file_name": name})
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadCorpus(
                f'{path.name}, line {number}: not a JSON object with a "file_name". The file may '
                "be cut short: make it again, or delete that line."
            ) from error
    return rows


def expiry_of(row: dict[str, Any]) -> float | None:
    """Tell when a row's picture and text must be gone (seconds since 1970); None means never."""
    if row.get("expires_at") is None:
        return None
    try:
        when = datetime.fromisoformat(str(row["expires_at"]))
    except ValueError:
        return 0.0  # a date that cannot be read: better gone than kept too long
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()

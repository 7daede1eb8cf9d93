"""The lines of a data folder: read with care, written as a whole."""

import json
from pathlib import Path
from typing import Any

from training.errors import BadCorpus

METADATA = "metadata.jsonl"
RIGHTS = "rights.json"
LOCK = "harvest.lock.json"
IMAGES = "images"
MOST_DAYS = 28.0  # the V&A's terms: nothing may be kept for "more than four weeks"
# What may stay when the museum's texts and pictures go: ids, addresses, hashes, sizes, times.
LASTING = (
    "file_name",
    "source_url",
    "iiif_url",
    "record_url",
    "system_number",
    "accession_number",
    "image_id",
    "sha256",
    "dhash",
    "colours",
    "bytes",
    "width",
    "height",
    "matched_terms",
    "record_modified",
    "fetched_at",
    "expires_at",
)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Read a JSON-lines file; raises BadCorpus naming the line at fault."""
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            row["file_name"]
        except (ValueError, KeyError, TypeError) as error:
            raise BadCorpus(
                f'{path.name}, line {number}: not a JSON object with a "file_name". The file may '
                "be cut short: run the stage that wrote it again."
            ) from error
        rows.append(row)
    return rows

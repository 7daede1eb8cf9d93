"""Read the lines of a folder of pictures with care, and tell when their time is over."""

import codecs
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from training.errors import BadCorpus

METADATA = "metadata.jsonl"
CAPTIONS = "metadata_gpt4.jsonl"
RIGHTS = "rights.json"
LOCK = "harvest.lock.json"
IMAGES = "images"
LONGEST_NAME = 255  # bytes of a file's name
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


def read_words(path: Path) -> str:
    """Read a text in UTF-8, or in the Unicode encoding that its first bytes name; else BadCorpus."""
    body = path.read_bytes()
    marked = body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return body.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = body[: error.start].count(b"\n") + 1
        raise BadCorpus(f"{path.name}, line {line}: not UTF-8. Save it anew as UTF-8.") from error


def expiry_of(row: dict[str, Any]) -> float | None:
    """Tell when a row's picture and text must be gone (seconds since 1970); None means never."""
    if row.get("expires_at") is None:
        return None
    try:
        when = datetime.fromisoformat(str(row["expires_at"]))
    except ValueError:
        return 0.0  # a date that cannot be read: better gone than kept too long
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()

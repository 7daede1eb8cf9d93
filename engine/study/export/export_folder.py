"""The files of an export: tables, pictures, codebook, card, manifest, checksums."""

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.backends.png import renamed
from engine.media.store import MediaStore, name_of
from engine.plan.cards import Expert
from engine.study.export.card import card
from engine.study.export.card_tables import ExportFacts
from engine.study.export.codebook import SOURCES, codebook, columns, markdown
from engine.study.export.dataset import Tables
from engine.study.export.manifest import FORMAT, MANIFEST, ROWS, SUMS, row_lines, sums
from engine.study.export.table_files import write_bytes, write_tables, write_text


def fill(
    folder: Path,
    made: ExportFacts,
    tables: Tables,
    experts: Mapping[str, Expert],
    media: MediaStore,
    rename: Callable[[str], str],
) -> str:
    """Write everything; returns the manifest's SHA-256. Raises OSError when the disk refuses.

    `rename` gives the identifiers within pictures of the public form.
    """
    missing = _pictures(folder, tables, media, rename if made.how.form == "public" else None)
    for name in SOURCES:
        write_tables(folder, name, columns(name), tables[name])
    book = codebook(tables)
    write_text(folder / "codebook.json", _json(book))
    write_text(folder / "codebook.md", markdown(book))
    write_text(folder / "README.md", card(made, tables, experts, missing))
    write_text(folder / ROWS, row_lines(tables))
    manifest = _json(_manifest(folder, made, tables))
    write_text(folder / MANIFEST, manifest)
    write_text(folder / SUMS, sums(folder))
    return hashlib.sha256(manifest.encode()).hexdigest()


def _pictures(
    folder: Path, tables: Tables, media: MediaStore, rename: Callable[[str], str] | None
) -> int:
    """Lay the pictures in; `file` of one that is gone becomes None. Returns how many are gone.

    Each says which answer it is of: with `rename`, by a name that tells nothing.
    """
    missing = 0
    for row in tables["pictures"]:
        if row["file"] is None:
            continue
        data = media.get(row["media"])
        if data is None:
            row["file"] = None
            missing += 1
            continue
        if rename is not None:
            data = renamed(data, rename)
            row["media"] = name_of(data)
            row["file"] = f"pictures/{row['media']}.png"
        if not (folder / row["file"]).exists():
            write_bytes(folder / row["file"], data)
    return missing


def _manifest(folder: Path, made: ExportFacts, tables: Tables) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": 1,
        "study": made.study,
        "title": made.file.title,
        "program": {"version": made.version, "commit": made.commit, "schema": made.schema},
        "options": {
            "experiment": made.experiment,
            "form": made.how.form,
            "times": made.how.times,
            "k": made.how.k,
            "k_enforced": made.how.gated,
            "quasi_identifiers": list(made.how.quasi),
            "purpose": made.purpose,
            "scrubber": made.scrubber,
            "review_sha256": made.reviewed,
        },
        "rows": {name: len(tables[name]) for name in SOURCES},
        "people": len({row["pseudonym"] for row in tables["interactions"]}),
        "scrubbed": dict(made.taken),
        "blanked": dict(made.blanked),
        "k_anonymity": dict(made.anonymity),
        "files": dict(line.split("  ")[::-1] for line in sums(folder).splitlines()),
    }


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

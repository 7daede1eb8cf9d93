"""What an export holds, to the byte and to the row; and what differs between two of them."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import CommandError
from engine.study.export.codebook import SOURCES, Row
from engine.study.export.dataset import Tables
from engine.study.export.table_files import canonical

FORMAT = "pastiche study export"
MANIFEST, ROWS, SUMS = "manifest.json", "rows.jsonl", "SHA256SUMS"
Key = tuple[str, str]  # table, row


def row_lines(tables: Tables) -> str:
    """One line a row: table, identifier, person and digest, from which `difference` works."""
    lines = []
    for name in SOURCES:
        for row in tables[name]:
            digest = hashlib.sha256(canonical(row).encode()).hexdigest()[:32]
            line = {
                "table": name,
                "row": str(row["id"]),
                "person": row.get("author" if name == "items" else "pseudonym"),
                "sha256": digest,
            }
            lines.append(json.dumps(line) + "\n")
    return "".join(lines)


def sums(folder: Path) -> str:
    """The digest of every file in the folder, as sha256sum writes them."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in paths
    )


def is_export(folder: Path) -> bool:
    """Whether a folder is one that we made."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """From an older export to a newer one. People by pseudonym; rows counted by table."""

    gone_people: tuple[str, ...]
    new_people: tuple[str, ...]
    gone: Mapping[str, int]
    new: Mapping[str, int]
    changed: Mapping[str, int]
    of_people: Mapping[str, Mapping[str, int]]
    options: Mapping[str, tuple[Any, Any]]

    @property
    def same(self) -> bool:
        """Whether there is no difference in rows."""
        return not (self.gone or self.new or self.changed)


def difference(old: Path, new: Path) -> Difference:
    """Who and what disappeared, appeared, changed. Raises CommandError where there is no export."""
    before, after = _rows(old), _rows(new)
    gone = before.keys() - after.keys()
    fresh = after.keys() - before.keys()
    changed = {key for key in before.keys() & after.keys() if before[key] != after[key]}
    people_before = {row["person"] for row in before.values() if row["person"]}
    people_after = {row["person"] for row in after.values() if row["person"]}
    of_people: dict[str, Counter[str]] = defaultdict(Counter)
    marks = ((gone, before, "gone"), (fresh, after, "new"), (changed, after, "changed"))
    for keys, rows, word in marks:
        for key in keys:
            of_people[rows[key]["person"] or ""][word] += 1
    options_before, options_after = _options(old), _options(new)
    return Difference(
        gone_people=tuple(sorted(people_before - people_after)),
        new_people=tuple(sorted(people_after - people_before)),
        gone=_by_table(gone),
        new=_by_table(fresh),
        changed=_by_table(changed),
        of_people={name: dict(counts) for name, counts in sorted(of_people.items())},
        options={
            name: (options_before.get(name), options_after.get(name))
            for name in sorted(options_before.keys() | options_after.keys())
            if options_before.get(name) != options_after.get(name)
        },
    )


def _by_table(keys: set[Key]) -> dict[str, int]:
    return dict(sorted(Counter(table for table, _ in keys).items()))


def _options(folder: Path) -> dict[str, Any]:
    manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    options: dict[str, Any] = manifest["options"]
    return options


def _rows(folder: Path) -> dict[Key, Row]:
    if not is_export(folder):
        raise CommandError(f"{folder} is no export of a study: it has no {MANIFEST} of ours.")
    try:
        return {(row["table"], row["row"]): row for row in _lines(folder / ROWS)}
    except (OSError, ValueError, KeyError) as error:
        raise CommandError(f"{folder / ROWS} cannot be read: {error}") from error


def _lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)

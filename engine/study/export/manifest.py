"""The files of an export, the manifest that lists them, and what differs between two exports."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from engine.backends.png import renamed
from engine.errors import CommandError
from engine.files import write_file, write_json
from engine.media.store import PictureStore, name_of
from engine.plan.cards import Registry
from engine.study.export.card import card
from engine.study.export.card_tables import ExportFacts, facts_of, flow_json
from engine.study.export.codebook import FILES, Row, Tables, codebook, columns, markdown
from engine.study.export.table_files import canonical, write_tables
from engine.study.export.trials import people_columns

FORMAT = "pastiche study export"
MANIFEST, ROWS, SUMS = "manifest.json", "rows.jsonl", "SHA256SUMS"
Key = tuple[str, str]  # table, row


def fill(
    folder: Path,
    made: ExportFacts,
    registry: Registry,
    media: PictureStore,
    rename: Callable[[str], str],
) -> str:
    """Write everything; return the manifest's SHA-256. Raises OSError when the disk refuses.

    `rename` gives the identifiers within pictures of the public form.
    """
    tables = made.shaped.tables
    missing = _pictures(folder, tables, media, rename if made.how.form == "public" else None)
    of = {name: columns(name) for name in FILES} | {"people": people_columns(tables)}
    for name in FILES:
        write_tables(folder, name, of[name], tables[name])
    book = codebook(tables, of)
    write_json(folder / "flow.json", flow_json(tables, made.flow), private=True)
    write_json(folder / "codebook.json", book, private=True)
    write_file(folder / "codebook.md", markdown(book), private=True)
    write_file(folder / "README.md", card(made, tables, registry, missing), private=True)
    for name in ("analysis.py", "analysis.R"):
        script = files("engine.study.export").joinpath(name).read_text(encoding="utf-8")
        write_file(folder / name, script, private=True)
    write_file(folder / ROWS, _row_lines(tables), private=True)
    write_json(folder / MANIFEST, _manifest(folder, made, tables), private=True)
    write_file(folder / SUMS, sums(folder), private=True)
    return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()


def _pictures(
    folder: Path, tables: Tables, media: PictureStore, rename: Callable[[str], str] | None
) -> int:
    """Write the pictures; `file` of one that is gone becomes None. Return how many are gone.

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
            write_file(folder / row["file"], data, private=True)
    return missing


def _manifest(folder: Path, made: ExportFacts, tables: Tables) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "format_version": 1,
        "title": made.file.title,
        "options": facts_of(made),
        "rows": {name: len(tables[name]) for name in FILES},
        "people": len({row["pseudonym"] for row in tables["interactions"]}),
        "scrubbed": dict(made.scrub.taken),
        "blanked": made.shaped.blanked,
        "k_anonymity": made.shaped.anonymity,
        "files": dict(line.split("  ")[::-1] for line in sums(folder).splitlines()),
    }


def _row_lines(tables: Tables) -> str:
    """Write one line a row: table, identifier, person and digest, from which `difference` works."""
    lines = []
    for name in FILES:
        # of a stimulus what it is: how it was judged changes with everybody
        for row in tables["items" if name == "stimuli" else name]:
            digest = hashlib.sha256(canonical(row).encode()).hexdigest()[:32]
            line = {
                "table": name,
                "row": str(row["id"]),
                "person": row.get("author" if name == "stimuli" else "pseudonym"),
                "sha256": digest,
            }
            lines.append(json.dumps(line) + "\n")
    return "".join(lines)


def sums(folder: Path) -> str:
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != SUMS)
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in paths
    )


def is_export(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    gone_people: tuple[str, ...]
    new_people: tuple[str, ...]
    gone: Mapping[str, int]
    new: Mapping[str, int]
    changed: Mapping[str, int]
    of_people: Mapping[str, Mapping[str, int]]
    options: Mapping[str, tuple[Any, Any]]

    @property
    def same(self) -> bool:
        return not (self.gone or self.new or self.changed)


def difference(old: Path, new: Path) -> Difference:
    before, after = _rows(old), _rows(new)
    gone = before.keys() - after.keys()
    fresh = after.keys() - before.keys()
    changed = {key for key in before.keys() & after.keys() if before[key] != after[key]}
    people_before, people_after = _people(before.values()), _people(after.values())
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


def _people(rows: Iterable[Row]) -> set[str]:
    return {row["person"] for row in rows if row["person"]}


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
        with (folder / ROWS).open(encoding="utf-8") as file:
            return {(row["table"], row["row"]): row for row in map(json.loads, file)}
    except (OSError, ValueError, KeyError) as error:
        raise CommandError(f"{folder / ROWS} cannot be read: {error}") from error

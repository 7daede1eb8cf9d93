"""The files of an export, the manifest that lists them, and what differs between two exports."""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from engine.backends.png import renamed
from engine.errors import CommandError
from engine.files import write_file, write_json
from engine.media.store import PictureStore, name_of
from engine.plan.cards import Registry
from engine.study.export.card import ExportFacts, card
from engine.study.export.codebook import FILES, Row, Tables, codebook, columns, markdown
from engine.study.export.consort import flow_json
from engine.study.export.table_files import write_spss, write_tables
from engine.study.export.trials import people_columns, trial_columns
from engine.weights.weight_files import SUMS, sha256_of, sums

FORMAT = "pastiche study export"
MANIFEST = "manifest.json"


def fill(
    folder: Path,
    made: ExportFacts,
    registry: Registry,
    media: PictureStore,
    rename: Callable[[str], str],
    *,
    spss: bool = False,
) -> str:
    """Write everything, public pictures renamed; return the manifest's SHA-256. Raises OSError."""
    tables = made.shaped.tables
    missing = _pictures(folder, tables, media, rename if made.options["form"] == "public" else None)
    of = {name: columns(name) for name in FILES}
    of |= {"people": people_columns(tables), "trials": trial_columns(tables)}
    for name in FILES:
        write_tables(folder, name, of[name], tables[name])
    for name in ("people", "trials") if spss else ():
        write_spss(folder / f"{name}.sav", of[name], tables[name], tables["questions"])
    book = codebook(tables, of)
    write_json(folder / "flow.json", flow_json(tables, made.flow), private=True)
    write_json(folder / "codebook.json", book, private=True)
    write_file(folder / "codebook.md", markdown(book), private=True)
    write_file(folder / "README.md", card(made, registry, missing), private=True)
    for name in ("analysis.py", "analysis.R"):
        script = files("engine.study.export").joinpath(name).read_text(encoding="utf-8")
        write_file(folder / name, script, private=True)
    write_json(folder / MANIFEST, _manifest(folder, made, tables), private=True)
    write_file(folder / SUMS, sums(folder), private=True)
    return sha256_of(folder / MANIFEST)


def _pictures(
    folder: Path, tables: Tables, media: PictureStore, rename: Callable[[str], str] | None
) -> int:
    """Write the pictures, renamed if asked; one that is gone has no `file`. How many are gone."""
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
        "options": dict(made.options),
        "rows": {name: len(tables[name]) for name in FILES},
        "people": len({row["pseudonym"] for row in tables["interactions"]}),
        "scrubbed": dict(made.scrub.taken),
        "blanked": made.shaped.blanked,
        "k_anonymity": made.shaped.anonymity,
        "files": dict(line.split("  ")[::-1] for line in sums(folder).splitlines()),
    }


def is_export(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and manifest.get("format") == FORMAT


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Name who came and went between two exports, and count rows by table."""

    gone_people: tuple[str, ...]
    new_people: tuple[str, ...]
    gone: Counter[str]
    new: Counter[str]
    changed: Counter[str]
    options: Mapping[str, tuple[Any, Any]]


def difference(old: Path, new: Path) -> Difference:
    """Compare the rows of two exports. Raises CommandError for a folder that is none."""
    before, after = _rows(old), _rows(new)
    people = [
        {str(name) for row in rows.values() if (name := row.get("pseudonym") or row.get("author"))}
        for rows in (before, after)
    ]
    options = [
        json.loads((folder / MANIFEST).read_text(encoding="utf-8"))["options"]
        for folder in (old, new)
    ]
    both = {name: (options[0].get(name), options[1].get(name)) for name in options[0] | options[1]}
    return Difference(
        gone_people=tuple(sorted(people[0] - people[1])),
        new_people=tuple(sorted(people[1] - people[0])),
        gone=Counter(table for table, _ in before.keys() - after.keys()),
        new=Counter(table for table, _ in after.keys() - before.keys()),
        changed=Counter(key[0] for key in before.keys() & after if before[key] != after[key]),
        options={name: pair for name, pair in sorted(both.items()) if pair[0] != pair[1]},
    )


def _rows(folder: Path) -> dict[tuple[str, str], Row]:
    if not is_export(folder):
        raise CommandError(f"{folder} is no export of a study: it has no {MANIFEST} of ours.")
    # of a stimulus what it is: how it was judged changes with everybody
    own = {column.name for column in columns("items")}
    found: dict[tuple[str, str], Row] = {}
    try:
        for table in FILES:
            for line in (folder / f"{table}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
                row = json.loads(line)
                stays = own if table == "stimuli" else row.keys()
                found[table, str(row["id"])] = {name: row.get(name) for name in stays}
    except (OSError, ValueError, KeyError) as error:
        raise CommandError(f"The rows in {folder} cannot be read: {error}") from error
    return found

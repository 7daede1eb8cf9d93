"""`pastiche study export`: a folder with the study's rows, in three forms, and all that explains them.

The folder is made aside and takes its name when it is whole; before that the export is written into the
ledger (`study_exports`), so that there is none that nobody knows of. Nothing in it comes from the clock:
the same ledger and options make the same bytes.
"""

import contextlib
import subprocess
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from ulid import ULID

from engine.errors import CommandError, SetupError
from engine.files import restore, whole_folder
from engine.ledger.storage import revisions
from engine.ledger.transactions import Database
from engine.media.store import PictureStore
from engine.plan.cards import Registry
from engine.settings import Settings
from engine.study.disclosure.k_anonymity import DEFAULT
from engine.study.disclosure.review import Finding, read_decisions
from engine.study.experiments.tables import ExperimentRow
from engine.study.export.card import ExportFacts
from engine.study.export.codebook import FILES, columns
from engine.study.export.dataset import read_study
from engine.study.export.manifest import fill, is_export
from engine.study.export.release import Options, Scrub, Shape, shape, short
from engine.study.export.table_files import disk_errors, needed
from engine.study.export.trials import questions_of as asked_in
from engine.study.lifecycle import opened_database
from engine.study.study import StudyFile, folder_of, read_study_file
from engine.study.tables import ExportRow

GIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    out: Path
    rows: Mapping[str, int]
    people: int
    manifest_sha256: str
    taken: Mapping[str, int]
    anonymity: Mapping[str, Any]


def shape_of(options: Options, file: StudyFile, questions: Collection[str] = ()) -> Shape:
    """Decide how the rows go out. Raises SetupError for what can be no quasi-identifier."""
    known = {
        column.name
        for column in columns("interactions")
        if column.kind in ("word", "flag") and not column.free
    }
    quasi = file.quasi_identifiers or DEFAULT
    for name in quasi:
        if name not in known and name not in questions:
            raise SetupError(
                f"study.toml: quasi_identifiers: {name!r} is no column that can be one, and no question "
                f"of an experiment. There are: {', '.join(sorted({*known, *questions}))}."
            )
    public = options.form == "public"
    return Shape(
        form=options.form,
        times=options.times or ("hour" if public else "exact"),
        k=options.k or file.k_anonymity,
        k_enforced=public or options.k is not None,
        quasi_identifiers=quasi,
    )


def check_options(options: Options, settings: Settings) -> None:
    out = options.out.absolute()
    restore(out, private=True)
    if out.resolve().is_relative_to(settings.home.resolve()):
        raise CommandError(
            f"{out} lies in the data folder, whose backups it would join. Name another place with --out."
        )
    if out.exists() and not out.is_dir():
        raise CommandError(f"{out} is a file. Name a new folder with --out.")
    if out.exists() and any(out.iterdir()):
        if not is_export(out):
            raise CommandError(
                f"{out} has something else in it, which is left as it is. Name a new folder with --out."
            )
        if not options.replace:
            raise CommandError(
                f"{out} is an export already. Name a new folder, or put this one in its place with "
                "--replace."
            )


async def export_study(options: Options, settings: Settings) -> Exported:
    """Make the export. Raises CommandError or SetupError; then nothing stands under its name."""
    needed("pyarrow")
    if options.spss:
        needed("pyreadstat", "spss")
    file = read_study_file(settings, options.study)
    with disk_errors(options.out):
        check_options(options, settings)
    scrub = Scrub(decisions=read_decisions(options.review) if options.review else {})
    async with opened_database(settings) as database:
        how = shape_of(options, file, await questions_of(database, settings, options.study))
        reading = await read_study(database, options.study)
        shaped = shape(reading, how, scrub)
        facts = _facts(options, settings, how)
        made = ExportFacts(options=facts, file=file, scrub=scrub, shaped=shaped, flow=reading.flow)
        registry = Registry.load(settings.expert_roots, settings.profile)
        media = PictureStore(settings.media, database.vault)
        rows = {name: len(shaped.tables[name]) for name in FILES}
        with (
            disk_errors(out := options.out.absolute()),
            whole_folder(out, private=True, replace=options.replace) as folder,
        ):
            rename = partial(short, reading.key)
            digest = fill(folder, made, registry, media, rename, spss=options.spss)
            entry = {"id": str(ULID()), "study": options.study, "at": database.clock()}
            entry |= {"rows": sum(rows.values()), "manifest_sha256": digest}
            await database.change(sa.insert(ExportRow).values(entry))
    return Exported(
        out=options.out,
        rows=rows,
        people=len(shaped.tables["people"]),
        manifest_sha256=digest,
        taken=dict(sorted(scrub.taken.items())),
        anonymity=shaped.anonymity,
    )


def _facts(options: Options, settings: Settings, how: Shape) -> dict[str, Any]:
    review = options.review
    return {
        "version": version("pastiche"),
        "commit": commit(),
        "schema": revisions(settings)[0],
        "study": options.study,
        **asdict(how),
        "review_sha256": sha256(review.read_bytes()).hexdigest() if review else "",
    }


async def review_study(settings: Settings, study: str) -> list[Finding]:
    """List what the scrub finds, and what may be a name, for a person to decide. Raises SetupError."""
    read_study_file(settings, study)
    scrub = Scrub(listing=True)
    async with opened_database(settings) as database:
        reading = await read_study(database, study)
    shape(reading, Shape(), scrub)
    return list(scrub.findings.values())


async def questions_of(database: Database, settings: Settings, study: str) -> set[str]:
    query = sa.select(ExperimentRow.file).where(ExperimentRow.study == study)
    texts = await database.scalars(query)
    for path in (folder_of(settings, study) / "experiments").glob("*.toml"):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            texts.append(path.read_text(encoding="utf-8-sig"))
    found: set[str] = set()
    for text in texts:
        with contextlib.suppress(tomllib.TOMLDecodeError, KeyError):
            found |= {name for _, _, name in asked_in([{"id": "", "file": text}])}
    return found


def commit() -> str:
    """Name the commit that this code is of; "release" for an installed package."""
    words = ("git", "-C", str(Path(__file__).resolve().parent), "rev-parse", "HEAD")
    try:
        return subprocess.check_output(
            words, stderr=subprocess.DEVNULL, text=True, timeout=GIT_SECONDS
        ).strip()
    except (OSError, subprocess.SubprocessError):
        return "release"

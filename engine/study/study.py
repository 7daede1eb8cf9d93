"""The opened study: its file, its key, and the consent texts.

`studies/<id>/study.toml` in the data folder says what is studied and by whom; `consent.<language>.md`
beside it replaces the shipped text. The key lies outside the data folder, so that no copy of the data
carries it. One whose key is lost goes on without whatever needs it, and says so; nothing else stops.
"""

import hashlib
import re
import tomllib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa
from pydantic import Field, ValidationError

from engine.errors import AskerError, SetupError
from engine.ledger.keys import key_file, load_key
from engine.ledger.transactions import Database, add
from engine.settings import Settings
from engine.study.experiments.questions import Strict
from engine.study.pseudonyms import key_check, pseudonym
from engine.study.tables import StudyRow

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
VERSION = re.compile(r"<!--\s*version:\s*([\w.-]{1,16})\s*-->\s*")
FIELD = re.compile(r"\{(\w+)\}")
LANGUAGES = ("en", "it")
LOST = (
    "The key of this study is lost: nobody's earlier answers can be found by it any more, and nothing "
    "new is collected. Everything else goes on."
)
DESTROYED = (
    "The key of this study was destroyed when it ended: nobody's answers can be found any more, "
    "and nothing new is collected."
)


class StudyFile(Strict):
    title: str = Field(min_length=3, max_length=120)
    researcher: str = Field(min_length=2, max_length=200)
    contact: str = Field(min_length=3, max_length=200)
    purpose: str = Field(min_length=10, max_length=600)
    minimum_age: int = Field(default=18, ge=16, le=99)
    duration: str = Field(default="", max_length=200)
    risks: str = Field(default="", max_length=200)
    compensation: str = Field(default="", max_length=200)
    approval: str = Field(default="", max_length=200)
    controller: str = Field(default="", max_length=200)
    complaint: str = Field(default="", max_length=200)
    title_it: str = Field(default="", max_length=120)
    purpose_it: str = Field(default="", max_length=600)
    duration_it: str = Field(default="", max_length=200)
    risks_it: str = Field(default="", max_length=200)
    compensation_it: str = Field(default="", max_length=200)
    approval_it: str = Field(default="", max_length=200)
    controller_it: str = Field(default="", max_length=200)
    complaint_it: str = Field(default="", max_length=200)
    quasi_identifiers: tuple[str, ...] = ()
    k_anonymity: int = Field(default=5, ge=1, le=1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentText:
    locale: str
    version: str
    body: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """Hold a study as this process knows it; `key` is None when lost or destroyed, `why` says which."""

    id: str
    file: StudyFile
    texts: dict[str, ConsentText]
    key: bytes | None
    why: str = ""

    def __repr__(self) -> str:
        return f"Study({self.id!r}, {'with' if self.key else 'without'} key)"

    def pseudonym(self, platform: str, asker: str) -> str:
        return pseudonym(self.needed_key(), platform, asker)

    def place(self, platform: str, place: str) -> str:
        return self.pseudonym(f"{platform} place", place)

    def needed_key(self) -> bytes:
        """Return the key. Raises AskerError, which says what is lost."""
        if self.key is None:
            raise AskerError(self.why)
        return self.key

    def text(self, locale: str) -> ConsentText:
        return self.texts.get(locale.replace("_", "-").split("-")[0].lower(), self.texts["en"])

    def current(self, sha256: str) -> bool:
        return any(text.sha256 == sha256 for text in self.texts.values())


class StudyService:
    """Serve one study: what each of its services begins with."""

    def __init__(self, database: Database, study: Study) -> None:
        self._database = database
        self._study = study


def folder_of(settings: Settings, study: str) -> Path:
    """Locate a study's files. Raises SetupError for an invalid name."""
    if not NAME.fullmatch(study):
        raise SetupError(
            f"{study!r} is no name for a study: 1 to 32 small letters, digits, - and _, as in pilot-1."
        )
    return settings.home / "studies" / study


def study_key_file(settings: Settings, study: str) -> Path:
    """Locate the study's key. Raises SetupError for a path within the data folder."""
    folder_of(settings, study)
    if settings.study_key_file is not None and study == settings.study:
        path = settings.study_key_file.expanduser().absolute()
    else:
        beside = key_file(settings)
        path = beside.with_name(f"{beside.stem}.study-{study}.key")
    if path.is_dir() or path.resolve().is_relative_to(settings.home.resolve()):
        raise SetupError(
            f"The study's key {path} must be a file outside the data folder, or every copy of the data "
            "would carry it. Name another place with PASTICHE_STUDY_KEY_FILE."
        )
    return path


def read_study_file(settings: Settings, study: str) -> StudyFile:
    """Read `study.toml`. Raises SetupError naming the file and its first mistake."""
    path = folder_of(settings, study) / "study.toml"
    try:
        lines = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise SetupError(
            f"There is no study {study!r} here ({path}). Make it with: pastiche study open {study}"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise SetupError(f"{path} cannot be read: {error}") from error
    try:
        lines.pop("training_permission", None)  # exports for training are no more
        return StudyFile.model_validate(lines)
    except ValidationError as error:
        raise SetupError(f"{path}: {mistake(error)}") from None


def mistake(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}."


def read_texts(settings: Settings, study: str, file: StudyFile) -> dict[str, ConsentText]:
    """Read the consent in every language: the study's words, else the shipped. Raises SetupError."""
    folder = folder_of(settings, study)
    own = sorted(path.name[8:-3] for path in folder.glob("consent.*.md"))
    return {name: _text(folder, name, file) for name in dict.fromkeys((*LANGUAGES, *own))}


def _text(folder: Path, language: str, file: StudyFile) -> ConsentText:
    path = folder / f"consent.{language}.md"
    try:
        raw = (
            path.read_text(encoding="utf-8-sig") if path.exists() else _shipped("consent", language)
        )
        head = VERSION.match(raw)
        if head is None:
            raise SetupError(
                f"{path}: the first line must be <!-- version: 1 -->, with its number."
            )
        words = {name: file.said(name, language) for name in StudyFile.model_fields}
        words["chance"] = _shipped("chance", language).strip()
        text = raw[head.end() :].strip()
        text += "" if "{chance}" in text else "\n\n{chance}"  # nobody is treated unannounced
        told = (p for p in text.split("\n\n") if all(words.get(n) != "" for n in FIELD.findall(p)))
        body = "\n\n".join(told).format(**words)
    except (OSError, UnicodeDecodeError, KeyError, ValueError, IndexError) as error:
        raise SetupError(
            f"{path} cannot be used: {error}. Braces name fields of study.toml."
        ) from error
    digest = hashlib.sha256(f"{head[1]}\n{body}".encode()).hexdigest()
    return ConsentText(locale=language, version=head[1], body=body, sha256=digest)


def _shipped(name: str, language: str) -> str:
    known = language if language in LANGUAGES else LANGUAGES[0]
    return files("engine.study.texts").joinpath(f"{name}.{known}.md").read_text(encoding="utf-8")


async def open_study(settings: Settings, database: Database) -> Study | None:
    """Open the study that the settings name, or None; its key is made at first. Raises SetupError."""
    if not settings.study:
        return None
    file = read_study_file(settings, settings.study)
    texts = read_texts(settings, settings.study, file)
    row = await study_row(database, settings.study)
    if row is None:
        key = load_key(study_key_file(settings, settings.study), may_create=True)
        check = key_check(key, settings.study)
        values = {"id": settings.study, "opened_at": database.clock(), "key_check": check}
        async with database.writing() as connection:
            await add(connection, StudyRow, values)
        row = await study_row(database, settings.study)
    own_key, why = key_of(settings, settings.study, row)
    return Study(id=settings.study, file=file, texts=texts, key=own_key, why=why)


async def study_row(database: Database, study: str) -> sa.Row[tuple[object, ...]] | None:
    rows = await database.rows(sa.select(StudyRow.__table__).where(StudyRow.id == study))
    return rows[0] if rows else None


def key_of(
    settings: Settings, study: str, row: sa.Row[tuple[object, ...]] | None
) -> tuple[bytes | None, str]:
    """Load the key, or say why there is none. Raises SetupError for a file that others can read."""
    if row is None or row.key_destroyed_at is not None:
        return None, DESTROYED
    path = study_key_file(settings, study)
    if not path.exists():
        return None, LOST
    key = load_key(path, may_create=False)
    return (key, "") if key_check(key, study) == row.key_check else (None, LOST)

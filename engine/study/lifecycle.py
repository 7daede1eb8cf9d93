"""Opening a study, making its key, destroying it: what an operator does by hand."""

import contextlib
import os
from pathlib import Path

import sqlalchemy as sa
from pydantic import ValidationError

from engine.errors import SetupError
from engine.ledger.keys import load_key
from engine.ledger.storage import make_ready, open_database
from engine.ledger.transactions import Database
from engine.lock import take_lock
from engine.settings import Settings
from engine.study.destruction import part
from engine.study.study import (
    Study,
    StudyFile,
    folder_of,
    key_of,
    mistake,
    open_study,
    study_key_file,
)
from engine.study.tables import StudyRow

TEMPLATE = """# What people are told, and what binds the study. Any change makes their consent lapse.
title = {title}
researcher = {researcher}
contact = {contact}
purpose = {purpose}
# purpose_it = "the same in Italian"
# minimum_age = 18
"""


def write_template(settings: Settings, study: str, **facts: str) -> Path:
    """`study.toml` with these facts, unless there is one. Raises SetupError when one is missing."""
    path = folder_of(settings, study) / "study.toml"
    if path.exists():
        return path
    missing = [name for name, value in facts.items() if not value.strip()]
    if missing:
        options = " ".join(f'--{name} "..."' for name in missing)
        raise SetupError(f"A new study needs to say more: pastiche study open {study} {options}")
    try:
        StudyFile.model_validate(facts)
    except ValidationError as error:  # else the file would stand there with what no study may say
        raise SetupError(f"No study was made. --{mistake(error)}") from None
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    text = TEMPLATE.format(**{name: _quoted(value) for name, value in facts.items()})
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)
    return path


def _quoted(value: str) -> str:
    """A TOML basic string."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + " ".join(escaped.split()) + '"'


def ready(settings: Settings) -> None:
    """Bring the ledger's schema up to date, if nobody runs on it who has done so."""
    lock = take_lock(settings.home, settings.socket)
    if lock is not None:
        with lock:
            make_ready(settings)


async def open_named(settings: Settings, study: str) -> Study:
    """The study, opened; its key is made when this is the first time."""
    settings = settings.model_copy(update={"study": study})
    database = Database(await open_database(settings))
    try:
        opened = await open_study(settings, database)
    finally:
        await database.close()
    assert opened is not None, "it has a name"
    return opened


async def make_key(settings: Settings, study: str) -> Path:
    """A key before the study is opened. Raises SetupError if there is one, or was."""
    path = study_key_file(settings, study)
    database = Database(await open_database(settings))
    try:
        async with database.reading() as connection:
            query = sa.select(StudyRow.__table__).where(StudyRow.id == study)
            known = (await connection.execute(query)).one_or_none()
    finally:
        await database.close()
    if known is not None and known.key_destroyed_at is not None:
        raise SetupError(
            f"The key of {study} was destroyed when the study ended, and no other finds its rows. Open "
            "a new study under another name."
        )
    if known is not None or path.exists():
        raise SetupError(
            f"The study {study} has its key already ({path}). If that file is lost, put it back from "
            "your copy: another key would find nobody's rows."
        )
    load_key(path, may_create=True)
    return path


async def destroy_key(settings: Settings, study: str) -> None:
    """Nobody's rows can be found or joined from now on; they stay. Raises SetupError.

    First the record, then the file: a key that lies there after a kill in between is refused.
    """
    database = Database(await open_database(settings))
    try:
        async with database.reading() as connection:
            query = sa.select(StudyRow.__table__).where(StudyRow.id == study)
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            raise SetupError(f"There is no study {study!r} in this ledger.")
        key_of(settings, study, row)
        async with database.writing() as connection:
            await part(connection, study)
            await connection.execute(
                sa.update(StudyRow)
                .where(StudyRow.id == study, StudyRow.key_destroyed_at.is_(None))
                .values(key_destroyed_at=database.clock())
            )
    finally:
        await database.close()
    _shred(study_key_file(settings, study))


def _shred(path: Path) -> None:
    """Write over the file, then let it go. What a drive keeps elsewhere is beyond us."""
    with contextlib.suppress(FileNotFoundError):
        with path.open("r+b") as file:
            file.write(os.urandom(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()

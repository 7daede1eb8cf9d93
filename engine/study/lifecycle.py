"""What an operator does by hand: open a study, make its key, destroy it, erase it all."""

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from engine.chat.backups import in_backups
from engine.chat.forgetting import Forgetting
from engine.errors import SetupError
from engine.files import write_file
from engine.ledger.storage import make_ready, open_database, revisions
from engine.ledger.tables import Delivery, Table
from engine.ledger.transactions import Database
from engine.lock import take_lock
from engine.settings import Settings
from engine.study.erasure_rules import delete_study, of_study, stone_of
from engine.study.experiments.tables import (
    Enrolment,
    ExperimentRow,
    Exposure,
    PanelId,
    QuestionnaireAnswer,
    Vote,
)
from engine.study.study import (
    Study,
    StudyFile,
    folder_of,
    key_of,
    mistake,
    open_study,
    read_study_file,
    study_key_file,
    study_row,
)
from engine.study.tables import ConsentRow, InteractionRow, LinkCodeRow, StudyRow, set_once

TEMPLATE = """# What people are told, and what binds the study. Any change makes their consent lapse.
title = {title}
researcher = {researcher}
contact = {contact}
purpose = {purpose}
# purpose_it = "the same in Italian"
# minimum_age = 18
# duration, risks, compensation, approval, controller, complaint = "shown when they are set"
"""


def write_template(settings: Settings, study: str, **facts: str) -> Path:
    """Write `study.toml` with these facts, unless it exists. Raises SetupError when one is missing."""
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
    # a string of JSON is one of TOML
    lines = {k: json.dumps(" ".join(v.split()), ensure_ascii=False) for k, v in facts.items()}
    write_file(path, TEMPLATE.format(**lines))
    return path


def ready(settings: Settings) -> None:
    """Bring the ledger's schema up to date, if nobody runs on it who has done so."""
    lock = take_lock(settings.home, settings.socket)
    if lock is not None:
        with lock:
            make_ready(settings)


@contextlib.asynccontextmanager
async def connected_database(settings: Settings) -> AsyncIterator[Database]:
    database = Database(await open_database(settings))
    try:
        yield database
    finally:
        await database.close()


@contextlib.asynccontextmanager
async def opened_database(settings: Settings) -> AsyncIterator[Database]:
    """Open the ledger beside a bot that may run on it. Raises SetupError when there is none yet."""
    current, newest = revisions(settings)
    if current is None:
        raise SetupError("There is no ledger in this data folder yet; nobody has used the bot.")
    if current != newest:
        raise SetupError(f"The ledger has schema {current}. First run: pastiche db upgrade")
    async with connected_database(settings) as database:
        yield database


async def open_named(settings: Settings, study: str) -> Study:
    settings = settings.model_copy(update={"study": study})
    async with connected_database(settings) as database:
        opened = await open_study(settings, database)
    assert opened is not None, "it has a name"
    return opened


async def destroy_key(settings: Settings, study: str) -> None:
    """Let nobody's rows be found any more, on record before the file goes. Raises SetupError."""
    async with connected_database(settings) as database:
        row = await study_row(database, study)
        if row is None:
            raise SetupError(f"There is no study {study!r} in this ledger.")
        key_of(settings, study, row)
        async with database.writing() as connection:
            await _part(connection, study)
            over = set_once(StudyRow.key_destroyed_at, database.clock(), study)
            await connection.execute(over)
    _shred(study_key_file(settings, study))


async def surroundings(settings: Settings, file: Path) -> tuple[int | None, dict[str, str]]:
    """Give the lowest age of the study that a file lies in, and the digests of what is frozen there."""
    folder, row = file.resolve().parent.parent, ExperimentRow
    if folder.parent != (settings.home / "studies").resolve():
        return None, {}
    age, (current, newest) = read_study_file(settings, folder.name).minimum_age, revisions(settings)
    if current is None or current != newest:
        return age, {}
    async with connected_database(settings) as database:
        query = sa.select(row.id, row.version_sha256).where(row.study == folder.name)
        return age, {one.id: one.version_sha256 for one in await database.rows(query)}


async def rows_of_study(database: Database, study: str) -> list[str]:
    """Tell how many rows there are of a study that is over, by table. Raises SetupError."""
    row = await study_row(database, study)
    if row is None or not (row.closed_at or row.key_destroyed_at):
        raise SetupError(f"{study} is not over. First: pastiche study close --study {study}")
    found = []
    for table, own in of_study(Table.metadata, study):
        if count := await database.scalar(sa.select(sa.func.count()).where(own)):
            found.append(f"{table.name} {count:,}")
    return found


async def erase_study(settings: Settings, study: str, forgetting: Forgetting) -> None:
    """Erase a study but that it was: rows, also in older copies, key, folder. Done again, it finishes.

    The tombstone comes first: whatever stops this, the next start lets the rows go, and an older
    database that is put back loses them before it serves.
    """
    await forgetting.let_go(stone_of(study))
    await asyncio.to_thread(in_backups, settings.home, partial(delete_study, study))
    _shred(study_key_file(settings, study))
    with contextlib.suppress(FileNotFoundError):
        await asyncio.to_thread(shutil.rmtree, folder_of(settings, study))


async def close_study(database: Database, study: str) -> None:
    """Collect nothing more, in whatever process; what is there stays, and rights to it."""
    await database.change(set_once(StudyRow.closed_at, database.clock(), study))


def _shred(path: Path) -> None:
    """Overwrite the file, then delete it. What a drive keeps elsewhere is beyond us."""
    with contextlib.suppress(FileNotFoundError):
        with path.open("r+b") as file:
            file.write(os.urandom(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
        path.unlink()


async def _part(connection: AsyncConnection, study: str) -> None:
    """Clear what leads from the operational record or a button in a chat to the study's rows."""
    for table in (LinkCodeRow, PanelId):
        await connection.execute(sa.delete(table).where(table.study == study))
    jobs = sa.select(InteractionRow.job_id).where(InteractionRow.study == study)
    over = Delivery.state.in_(("delivered", "lost"))
    changes = (
        sa.update(Delivery).where(Delivery.job_id.in_(jobs), over).values(address=None),
        sa.update(InteractionRow).where(InteractionRow.study == study).values(job_id=None),
        sa.update(ConsentRow).where(ConsentRow.study == study).values(form=None),
    )
    for change in changes:
        await connection.execute(change)
    units = sa.select(Enrolment.id, Enrolment.unit, Enrolment.unit_kind).filter_by(study=study)
    for name, unit, kind in (await connection.execute(units)).all():
        fresh = {"id": str(ULID()), "unit": str(ULID()) if kind == "request" else unit}
        await connection.execute(sa.update(Enrolment).where(Enrolment.id == name).values(fresh))
    shown = sa.select(Exposure.__table__).filter_by(study=study)
    for row in (await connection.execute(shown.where(Exposure.kind != "single"))).mappings().all():
        old, new = Exposure.id == row["id"], str(ULID())
        await connection.execute(sa.update(Exposure).where(old).values(item=None))  # it is unique
        await connection.execute(sa.insert(Exposure).values({**row, "id": new}))
        for column in (Vote.exposure_id, QuestionnaireAnswer.about):
            moved = sa.update(column.class_).where(column == row["id"])
            await connection.execute(moved.values({column.key: new}))
        await connection.execute(sa.delete(Exposure).where(old))

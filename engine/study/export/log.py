"""`pastiche log`: one row a request with its answer, of the terminal and of people who agreed.

Whoever writes in a terminal here has the data folder, and their rows go out as they are kept. A study's
go out as in its export: of live consent only, under pseudonyms, scrubbed. Read and written some at a
time, all of one moment; in memory are only the study's identifiers.
"""

import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import CommandError
from engine.files import whole_file
from engine.ledger.tables import Delivery, JobRow, Output, PictureRow, RequestRow
from engine.settings import Settings
from engine.study import tables as t
from engine.study.export.codebook import Column, Row, columns, grouped
from engine.study.export.dataset import allowed_rows, live_people, one_moment, rows_of, taken_up
from engine.study.export.derived_columns import seconds_of, style_of
from engine.study.export.release import Scrub, scrub_table, shorten
from engine.study.export.table_files import KINDS, disk_errors, needed, table_writer
from engine.study.lifecycle import opened_database

AT_ONCE = 500  # rows in memory
TERMINAL = "terminal"
UNITS = {"h": 3600.0, "d": 86400.0, "w": 7 * 86400.0}
NOT_HERE = {"study", "consent_id", "session", "place", "private", "parent", "route", "hidden_at"}
NOT_HERE |= {"moderation", "locale", "place_kind", "hour", "moderation_action", "rating"}
OWN: dict[str, Any] = dict.fromkeys(("pseudonym", "experiment", "arm"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """Hold what may be read of a study: names by interaction, whose words are cut."""

    study: str
    key: bytes = field(repr=False)
    names: dict[str, str]
    cut: set[str]
    terminal: set[Any]


def log_columns() -> tuple[Column, ...]:
    own = columns("log")
    return own[:1] + tuple(c for c in columns("interactions") if c.name not in NOT_HERE) + own[1:]


def beginning_of(since: str, now: float) -> float:
    """Read `--since`: so long ago, or a day. Raises CommandError.

    >>> beginning_of("7d", 700_000.0), beginning_of("1970-01-02", 700_000.0)
    (95200.0, 86400.0)
    """
    if found := re.fullmatch(r"(\d{1,5})([hdw])", since.strip()):
        return now - int(found[1]) * UNITS[found[2]]
    try:
        when = datetime.fromisoformat(since.strip())
    except ValueError:
        raise CommandError(
            f"--since {since!r} is no time. Write 12h, 7d or 4w for so long ago, or a day: 2026-11-20."
        ) from None
    return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()


def check_out(out: Path, settings: Settings, *, replace: bool) -> None:
    if out.suffix not in KINDS:
        raise CommandError(f"{out.name} must end in {', '.join(KINDS)}: the kind of the file.")
    if out.suffix == ".parquet":
        needed("pyarrow")
    if out.resolve().is_relative_to(settings.home.resolve()):
        raise CommandError(f"{out} lies in the data folder, whose backups it would join.")
    if out.is_dir() or (out.exists() and not replace):
        raise CommandError(f"{out} is there already. Name another with --out, or use --replace.")


async def write_log(
    settings: Settings, out: Path, since: float, told: Callable[[int], None]
) -> Counter[str]:
    """Write the file, telling how far it is; count rows by source, and those with blanked words."""
    done: Counter[str] = Counter()
    async with opened_database(settings) as database, one_moment(database) as connection:
        known = sa.select(t.ConsentRow.study).distinct().order_by(t.ConsentRow.study)
        studies = [
            await _agreed(connection, study, database.vault.lookup("study export", study))
            for study in list(await connection.scalars(known))
        ]
        with (
            disk_errors(out),
            whole_file(out, private=True) as part,
            table_writer(part, out.suffix, log_columns()) as write,
        ):
            async for rows in _all(connection, studies, since):
                write(rows)
                for row in rows:
                    done["terminal" if row["source"] == TERMINAL else "people"] += 1
                    done["blanked"] += row["blanked"] is not None
                told(done["terminal"] + done["people"])
    return done


async def _all(
    connection: AsyncConnection, studies: Sequence[Agreed], since: float
) -> AsyncIterator[list[Row]]:
    elsewhere = set().union(*(one.terminal for one in studies))
    job = JobRow.__table__.columns
    asked = (column for column in RequestRow.__table__.columns if column.name not in job)
    shown = sa.select(sa.func.max(Delivery.delivered_at)).where(Delivery.job_id == JobRow.id)
    made = Output.text.label("output"), Output.notes, shown.label("delivered_at")
    own = sa.select(*job, *asked, *made).select_from(JobRow)
    own = own.join(RequestRow, RequestRow.id == JobRow.request_id)
    own = own.join(Output, Output.job_id == JobRow.id, isouter=True)
    own = own.where(
        RequestRow.platform == TERMINAL, RequestRow.private.is_(False), JobRow.accepted_at >= since
    )
    async for found in _some(connection, own, JobRow.id):
        # one that a study has is told once; when it is blanked here, nothing but its time is the same
        known = (row["id"] if row["typed"] is not None else row["accepted_at"] for row in found)
        rows = [row for row, name in zip(found, known, strict=True) if name not in elsewhere]
        seen = await _pictures(connection, PictureRow.job_id, rows)
        mine = ({**row, **OWN, "pictures": seen.get(row["id"], [])} for row in rows)
        yield [_finished(row, TERMINAL) for row in mine]
    for study in studies:
        async for rows in _of_people(connection, study, since):
            yield rows


async def _of_people(
    connection: AsyncConnection, study: Agreed, since: float
) -> AsyncIterator[list[Row]]:
    table = t.InteractionRow
    query = sa.select(table.__table__).where(table.study == study.study, table.accepted_at >= since)
    async for found in _some(connection, query, table.id):
        rows = [row for row in found if row["id"] in study.names]
        seen = await _pictures(connection, t.StudyPictureRow.interaction_id, rows)
        for row in rows:
            row |= {"pseudonym": study.names[row["id"]], "pictures": seen.get(row["id"], [])}
            row |= dict.fromkeys(t.BORROWED) if row["id"] in study.cut else {}
        scrub_table("interactions", rows, Scrub())
        shorten("interactions", rows, study.key)
        yield [_finished(row, study.study) for row in rows]


async def _agreed(connection: AsyncConnection, study: str, key: str) -> Agreed:
    consents = await rows_of(connection, t.ConsentRow, study)
    people = live_people(consents, await rows_of(connection, t.StudyLinkRow, study))
    names = ("id", "pseudonym", "consent_id", "parent", "job_id", "platform", "accepted_at")
    query = sa.select(*(getattr(t.InteractionRow, name) for name in names)).filter_by(study=study)
    rows = [dict(row) for row in (await connection.execute(query)).mappings()]
    allowed, _ = allowed_rows(rows, consents, people)
    own = [row for row in rows if row["id"] in allowed and row["platform"] == TERMINAL]
    return Agreed(
        study=study,
        key=bytes.fromhex(key),
        names={row["id"]: people[row["pseudonym"]].name for row in rows if row["id"] in allowed},
        cut=taken_up(rows, lambda row: row["id"] in allowed),
        terminal={row["job_id"] or row["accepted_at"] for row in own},
    )


async def _some(
    connection: AsyncConnection, query: sa.Select[Any], name: Any
) -> AsyncIterator[list[Row]]:
    """Read rows in the order of their names, which is that of time, AT_ONCE at a time."""
    last, page = "", query.order_by(name).limit(AT_ONCE)
    while rows := (await connection.execute(page.where(name > last))).mappings().all():
        yield [dict(row) for row in rows]
        last = rows[-1]["id"]


async def _pictures(
    connection: AsyncConnection, of: Any, rows: Sequence[Row]
) -> dict[str, list[str]]:
    table = of.class_
    query = sa.select(of, table.media).where(of.in_([row["id"] for row in rows]))
    return grouped(map(tuple, await connection.execute(query.order_by(table.number))))


def _finished(row: Row, source: str) -> Row:
    route = json.loads(row["route"]) if row["route"] else {}
    told = {name: route.get(name) for name in ("evidence", "runners_up", "nearest")}
    blanked = ", ".join(_gone(row)) or None
    pictures = [media for media in row["pictures"] if media]
    own = {"source": source, "blanked": blanked, "pictures": pictures}
    return {**row, **seconds_of(row), **style_of(row["output"]), **told, **own}


def _gone(row: Row) -> Iterator[str]:
    """Name the columns that had words, or pictures, and have none any more."""
    asked = ("typed", "text", "route") + ("prompt",) * (row["state"] != "refused")
    yield from (name for name in asked if row[name] is None)
    if row["state"] == "finished" and row["medium"] == "text" and row["output"] is None:
        yield "output"
    if None in row["pictures"]:
        yield "pictures"

"""What is done with an answer besides reading it: verdicts, thumbs, presses, deletion.

Like collecting.py, these write on a connection that they are handed. An answer is found by its job,
and so for as long as the operational record lasts.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from engine.chat.feedback import unspoken
from engine.ledger.erasure import chunks, cut_off
from engine.study.consent.consent import last_consent
from engine.study.consent.opt_in import takes_part
from engine.study.study import Study
from engine.study.tables import InteractionRow, StudyEventRow, StudyPictureRow, StudyRatingRow


async def interaction_of(connection: AsyncConnection, job: str) -> Any:
    """Its id, study, pseudonym, place, private, and hidden_at; None for an answer outside the study."""
    row = InteractionRow
    query = sa.select(row.id, row.study, row.pseudonym, row.place, row.private, row.hidden_at)
    return (await connection.execute(query.where(row.job_id == job))).one_or_none()


async def judged(
    connection: AsyncConnection, job: str, judged: Sequence[dict[str, Any]], now: float
) -> list[str]:
    """More verdicts on it. One that stops takes the answer; returns its pictures' names."""
    query = sa.select(InteractionRow.id, InteractionRow.moderation).where(
        InteractionRow.job_id == job
    )
    found = (await connection.execute(query.with_for_update())).one_or_none()
    if found is None:
        return []
    kept = () if unspoken(judged) else judged
    more = [*found.moderation, *(verdict_values(one) for one in kept)]
    await connection.execute(
        sa.update(InteractionRow).where(InteractionRow.id == found.id).values(moderation=more)
    )
    stopped = any(one["action"] in ("hold", "block") for one in judged)
    return await hide(connection, job, now) if stopped else []


async def rated(
    connection: AsyncConnection,
    study: Study,
    platform: str,
    rater: str,
    job: str,
    value: int,
    now: float,
    reason: str = "",
) -> None:
    """A thumb of somebody who takes part, for an answer that is in the study."""
    found = await interaction_of(connection, job)
    pseudonym = await taking_part(connection, study, platform, rater)
    if pseudonym is None or not await _open(connection, study, found):
        return
    values = {
        "id": str(ULID()),
        "study": study.id,
        "pseudonym": pseudonym,
        "interaction_id": found.id,
        "value": value,
        "reason": reason or None,
        "at": now,
    }
    await connection.execute(sa.insert(StudyRatingRow).values(values))


async def event(
    connection: AsyncConnection,
    study: Study,
    kind: str,
    job: str,
    now: float,
    *,
    platform: str = "",
    asker: str = "",
    detail: dict[str, Any] | None = None,
) -> None:
    """Something done with an answer; without an asker, by the one who asked for it."""
    found = await interaction_of(connection, job)
    if not await _open(connection, study, found):
        return
    if asker:
        pseudonym = await taking_part(connection, study, platform, asker)
    else:
        last = await last_consent(connection, study, found.pseudonym)
        pseudonym = found.pseudonym if last is not None and last.live else None
    if pseudonym is None:
        return
    values = {
        "id": str(ULID()),
        "study": study.id,
        "pseudonym": pseudonym,
        "interaction_id": found.id,
        "kind": kind,
        "detail": detail or {},
        "at": now,
    }
    await connection.execute(sa.insert(StudyEventRow).values(values))


async def _open(connection: AsyncConnection, study: Study, found: Any) -> bool:
    """Whether there is such an interaction, in a place that takes part still."""
    if found is None:
        return False
    return bool(found.private) or await takes_part(connection, study, found.place)


async def taking_part(
    connection: AsyncConnection, study: Study, platform: str, asker: str
) -> str | None:
    """The pseudonym of somebody whose consent is live."""
    if study.key is None:
        return None
    pseudonym = study.pseudonym(platform, asker)
    consent = await last_consent(connection, study, pseudonym)
    return pseudonym if consent is not None and consent.live else None


BORROWED = ("text", "beginning", "style", "drawing", "route", "prompt", "notes")


async def cut_off_interactions(
    connection: AsyncConnection,
    interactions: Sequence[str],
    columns: Sequence[str] = BORROWED,
    but_of: str = "",
) -> None:
    """What goes on from these, however far, loses the words that it took over; `but_of`: not theirs."""
    table = InteractionRow.__table__
    assert isinstance(table, sa.Table)
    for chunk in chunks(interactions):
        words = cut_off(table, chunk, columns).where(InteractionRow.pseudonym != but_of)
        await connection.execute(words)


def verdict_values(row: Any) -> dict[str, Any]:
    """A verdict as a variable: what was said at which stage, by whom, how fast; about nobody."""
    names = ("stage", "action", "reasons", "provider", "version", "milliseconds", "at")
    return {name: row[name] for name in names}


async def hide(connection: AsyncConnection, job: str, now: float) -> list[str]:
    """The answer was taken away: its words and pictures leave the study too. Returns their names."""
    mine = sa.select(InteractionRow.id).where(InteractionRow.job_id == job)
    pictures = StudyPictureRow.interaction_id.in_(mine)
    files = list(await connection.scalars(sa.select(StudyPictureRow.media).where(pictures)))
    await connection.execute(sa.delete(StudyPictureRow).where(pictures))
    await cut_off_interactions(
        connection, list(await connection.scalars(mine)), ("beginning", "prompt", "notes")
    )
    await connection.execute(
        sa.update(InteractionRow)
        .where(InteractionRow.job_id == job)
        .values(output=None, notes=None, hidden_at=now)
    )
    return files

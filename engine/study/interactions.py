"""What happens to an interaction after its answer: verdicts, thumbs, presses, deletion.

All write in the caller's transaction. An interaction is found by its job, and so for as long as the
operational record lasts.
"""

import re
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection
from ulid import ULID

from engine.ledger.erasure import cut_off
from engine.ledger.tables import JobRow, Table
from engine.ledger.transactions import chunks
from engine.moderation import unspoken
from engine.study.consent.consent import live_consent, takes_part
from engine.study.study import Study
from engine.study.tables import BORROWED, InteractionRow, StudyPictureRow

_MENTION = re.compile(r"<(?:@[!&]?|#)\d{5,25}>|(?<![\w/.])@\w{2,64}")


def unnamed(text: str | None) -> str | None:
    """Take other people's handles out of a text.

    >>> unnamed("Ask <@123456> and @jane_doe, not a@b.org")
    'Ask [user] and [user], not a@b.org'
    """
    return None if text is None else _MENTION.sub("[user]", text)


async def interaction_of(connection: AsyncConnection, job: str) -> Any:
    row = InteractionRow
    query = sa.select(row.id, row.study, row.pseudonym, row.place, row.private, row.hidden_at)
    return (await connection.execute(query.where(row.job_id == job))).one_or_none()


async def interaction_of_request(
    connection: AsyncConnection, study: Study | None, request: str
) -> str | None:
    """Find the interaction of an earlier request, if whoever made it still takes part."""
    query = (
        sa.select(InteractionRow.id, InteractionRow.pseudonym)
        .join(JobRow, JobRow.id == InteractionRow.job_id)
        .where(JobRow.request_id == request, InteractionRow.hidden_at.is_(None))
    )
    found = (await connection.execute(query.limit(1))).one_or_none()
    if found is None or study is None:
        return None
    agreed = await live_consent(connection, study, found.pseudonym)
    return None if agreed is None else str(found.id)


async def judged(
    connection: AsyncConnection, job: str, judged: Sequence[dict[str, Any]], now: float
) -> list[str]:
    """Add verdicts. One that stops takes the answer; return its pictures' names."""
    row = InteractionRow
    query = sa.select(row.id, row.moderation).where(row.job_id == job)
    found = (await connection.execute(query.with_for_update())).one_or_none()
    if found is None:
        return []
    kept = () if unspoken(judged) else judged
    more = [*found.moderation, *(verdict_values(one) for one in kept)]
    await connection.execute(sa.update(row).where(row.id == found.id).values(moderation=more))
    stopped = any(one["action"] in ("hold", "block") for one in judged)
    return await hide(connection, job, now) if stopped else []


async def add_to(
    connection: AsyncConnection,
    study: Study | None,
    table: type[Table],
    job: str,
    by: tuple[str, str] | None,
    facts: dict[str, Any],
) -> None:
    """Add a row about an answer in the study, `by` somebody who takes part, or by its asker."""
    found = await interaction_of(connection, job)
    if study is None or study.key is None or found is None:
        return
    pseudonym = study.pseudonym(*by) if by else found.pseudonym
    here = found.private or await takes_part(connection, study, found.place)
    if here and await live_consent(connection, study, pseudonym) is not None:
        values = {"study": study.id, "pseudonym": pseudonym, "interaction_id": found.id}
        row = {"id": str(ULID()), **values, **facts}
        await connection.execute(sa.insert(table).values(row))


async def cut_off_interactions(
    connection: AsyncConnection,
    interactions: Sequence[str],
    columns: Sequence[str] = BORROWED,
    but_of: str = "",
) -> None:
    """Blank the words that what goes on from these, however far, took over; `but_of`: not theirs."""
    table = InteractionRow.__table__
    assert isinstance(table, sa.Table)
    for chunk in chunks(interactions):
        words = cut_off(table, chunk, columns).where(InteractionRow.pseudonym != but_of)
        await connection.execute(words)


def verdict_values(row: Any) -> dict[str, Any]:
    """Take from a verdict what was said at which stage, by whom, how fast; it is about nobody."""
    names = ("stage", "action", "reasons", "provider", "version", "milliseconds", "at")
    return {name: row[name] for name in names}


async def hide(connection: AsyncConnection, job: str, now: float) -> list[str]:
    """Blank an answer that was taken away, and drop its pictures; return their names."""
    own = InteractionRow.job_id == job
    mine = sa.select(InteractionRow.id).where(own)
    pictures = StudyPictureRow.interaction_id.in_(mine)
    files = list(await connection.scalars(sa.select(StudyPictureRow.media).where(pictures)))
    await connection.execute(sa.delete(StudyPictureRow).where(pictures))
    found = list(await connection.scalars(mine))
    await cut_off_interactions(connection, found, ("beginning", "prompt", "notes"))
    blank = {"output": None, "notes": None, "hidden_at": now}
    await connection.execute(sa.update(InteractionRow).where(own).values(blank))
    return files

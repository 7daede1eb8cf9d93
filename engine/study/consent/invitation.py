"""The invitation: after a first good answer, once a month at most, and never after a withdrawal."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.transactions import put
from engine.study.consent.consent import last_consent
from engine.study.study import Study
from engine.study.tables import InvitationRow

MONTH_SECONDS = 30 * 86400.0


async def due(
    connection: AsyncConnection, study: Study, lookup: str, pseudonym: str, now: float
) -> str:
    """Tell what it is time for: "invited", "lapsed" (they agreed to an older text), or "" for nothing.

    The row is held until the end of a transaction that writes.
    """
    consent = await last_consent(connection, study, pseudonym)
    if consent is not None and not (consent.granted and consent.lapsed):
        return ""
    kind = "invited" if consent is None else "lapsed"
    query = sa.select(InvitationRow.outcome, InvitationRow.at).where(
        InvitationRow.lookup == lookup, InvitationRow.study == study.id
    )
    last = (await connection.execute(query.with_for_update())).one_or_none()
    anew = kind == "lapsed" and last is not None and last.outcome == "granted"
    if last is not None and not anew and now - last.at < MONTH_SECONDS:
        return ""
    return kind


async def note(
    connection: AsyncConnection, study: Study, lookup: str, outcome: str, now: float
) -> None:
    """Note what came of it: opened, declined, granted; and in which hour, as the consent has the second.

    The hour's end, so that nobody is asked again before the month is over.
    """
    hour = now - now % 3600 + 3600
    values = {"lookup": lookup, "study": study.id, "outcome": outcome, "at": hour}
    await put(connection, InvitationRow, ("lookup", "study"), values)

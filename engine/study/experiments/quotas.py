"""How many of each stratum are taken in: those who came to the end, or may still."""

from collections import Counter

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.study.experiments.tables import Enrolment

FULL = "its quota was full"
HELD_SECONDS = 86400.0  # a unit that has not come to its end holds its place so long


async def held(
    connection: AsyncConnection, study: str, experiment: str, now: float
) -> Counter[str]:
    """Count by stratum, but for whom is turned away; "" is of those who have none yet."""
    row = Enrolment
    lately = sa.and_(row.at > now - HELD_SECONDS, row.completed_at.is_(None))
    mine = row.study == study, row.experiment == experiment, row.excluded.is_(None)
    query = sa.select(row.stratum, sa.func.count()).where(
        *mine, sa.or_(row.completed_at.is_not(None), lately)
    )
    rows = await connection.execute(query.group_by(row.stratum))
    return Counter({name or "": count for name, count in rows})

"""Which groups and servers opted in. A chat of two needs only the person's consent."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.study.study import Study
from engine.study.tables import StudyPlaceRow


def place_of(platform: str, place: str, server: str = "") -> str:
    """Name what opts in: the server, or the group with all its topics.

    >>> place_of("telegram", "-1001/4"), place_of("discord", "5", "7")
    ('-1001', '7')
    """
    if server:
        return server
    return place.partition("/")[0] if platform == "telegram" else place


async def takes_part(connection: AsyncConnection, study: Study, place: str) -> bool:
    query = (
        sa.select(StudyPlaceRow.action)
        .where(StudyPlaceRow.study == study.id, StudyPlaceRow.place == place)
        .order_by(StudyPlaceRow.id.desc())
        .limit(1)
    )
    return await connection.scalar(query) == "on"

"""Which groups and servers opted in. A chat of two needs only the person's consent."""

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.plan.job import Request
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


def place_asked_in(request: Request) -> str:
    return place_of(request.platform, request.place, request.server)


async def takes_part(connection: AsyncConnection, study: Study, place: str) -> bool:
    query = (
        sa.select(StudyPlaceRow.action)
        .where(StudyPlaceRow.study == study.id, StudyPlaceRow.place == place)
        .order_by(StudyPlaceRow.id.desc())
        .limit(1)
    )
    return await connection.scalar(query) == "on"


async def switch(
    connection: AsyncConnection,
    study: Study,
    place: str,
    *,
    platform: str,
    kind: str,
    action: str,
    now: float,
) -> bool:
    """Add "on", "off" or "left" to the log; False when that is how it stands already."""
    if await takes_part(connection, study, place) == (action == "on"):
        return False
    values = {
        "study": study.id,
        "place": place,
        "platform": platform,
        "kind": kind,
        "action": action,
        "at": now,
    }
    await connection.execute(sa.insert(StudyPlaceRow).values(values))
    return True

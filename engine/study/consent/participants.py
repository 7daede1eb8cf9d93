"""Participants: people for whom consent, place and today's text hold, as for every row of the study."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.study.consent.account_links import root_of
from engine.study.consent.consent import last_consent
from engine.study.consent.opt_in import place_of, takes_part
from engine.study.study import Study
from engine.study.tables import StudyLinkRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """Hold somebody somewhere, as a platform names them; `alone` in a chat of two."""

    platform: str
    asker: str
    place: str
    server: str = ""
    alone: bool = False
    locale: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Hold a participant; `root` is the name that all their linked `accounts` share."""

    pseudonym: str
    root: str
    accounts: tuple[str, ...]
    place: str


async def person_at(connection: AsyncConnection, study: Study, spot: Spot) -> Person | None:
    """Find the participant here, if there is one now; without the study's key nobody is."""
    name = await pseudonym_of(connection, study, spot.platform, spot.asker)
    if name is None:
        return None
    place = study.place(spot.platform, place_of(spot.platform, spot.place, spot.server))
    if not spot.alone and not await takes_part(connection, study, place):
        return None
    root = await root_of(connection, name)
    linked = sa.select(StudyLinkRow.pseudonym).where(StudyLinkRow.root == root)
    accounts = {name, root, *await connection.scalars(linked)}
    return Person(pseudonym=name, root=root, accounts=tuple(sorted(accounts)), place=place)


async def pseudonym_of(
    connection: AsyncConnection, study: Study, platform: str, asker: str
) -> str | None:
    """Find the pseudonym of somebody whose consent is live."""
    if study.key is None:
        return None
    pseudonym = study.pseudonym(platform, asker)
    consent = await last_consent(connection, study, pseudonym)
    return pseudonym if consent is not None and consent.live else None

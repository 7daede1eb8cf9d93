"""Participants: people for whom consent, place and today's text hold, as for every row of the study.

A chat of two needs only the person's consent; a group or server must have opted in.
"""

from dataclasses import dataclass
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.transactions import Database, add, repeated
from engine.plan.job import Request, Spot
from engine.study.consent.consent import Consent, live_consent, root_of, takes_part
from engine.study.experiments.tables import Enrolment, PanelId
from engine.study.pseudonyms import keyed
from engine.study.study import Study, StudyService
from engine.study.tables import StudyLinkRow, StudyRow


def place_of(platform: str, place: str, server: str = "") -> str:
    """Name what opts in: the server, or the group with all its topics.

    >>> place_of("telegram", "-1001/4"), place_of("discord", "5", "7")
    ('-1001', '7')
    """
    if server:
        return server
    return place.partition("/")[0] if platform == "telegram" else place


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Hold a participant; `root` is the name that all their linked `accounts` share."""

    pseudonym: str
    root: str
    accounts: tuple[str, ...]
    place: str


class Entitled(NamedTuple):
    """Hold the live consent by which something may be kept, and the two pseudonyms."""

    consent: Consent
    pseudonym: str
    place: str


async def entitled(
    connection: AsyncConnection, study: Study | None, where: Spot | Request
) -> Entitled | None:
    """Find somebody's live consent, in a place that takes part; none without the study's key."""
    if study is None or study.key is None:
        return None
    pseudonym = study.pseudonym(where.platform, where.asker)
    consent = await live_consent(connection, study, pseudonym)
    place = study.place(where.platform, place_of(where.platform, where.place, where.server))
    if consent is None or not (where.alone or await takes_part(connection, study, place)):
        return None
    return Entitled(consent, pseudonym, place)


async def person_at(
    connection: AsyncConnection, study: Study, spot: Spot, *, leaving: bool = False
) -> Person | None:
    """Find who takes part; who is `leaving` also where that is over, to be told what they were in."""
    found = await entitled(connection, study, spot)
    destroyed = sa.select(StudyRow.key_destroyed_at).where(StudyRow.id == study.id)
    # we may hold a key still that was destroyed elsewhere
    over = study.key is None or await connection.scalar(destroyed) is not None
    if found is None and (over or not leaving):
        return None
    name = study.pseudonym(spot.platform, spot.asker)
    root, place = await root_of(connection, name), found.place if found else ""
    linked = sa.select(StudyLinkRow.pseudonym).where(StudyLinkRow.root == root)
    accounts = {name, root, *await connection.scalars(linked)}
    return Person(pseudonym=name, root=root, accounts=tuple(sorted(accounts)), place=place)


class Panel(StudyService):
    """Who people are to a recruitment panel: kept apart from the data, to pay by, and in no export."""

    def __init__(self, database: Database, study: Study) -> None:
        super().__init__(database, study)
        self._of = sa.and_(PanelId.study == study.id, PanelId.annotator.is_(False))

    @repeated
    async def note(self, person: Person, panel: str) -> str:
        """Note a panel's id: "noted"; or "other", the first one stands; "taken", by somebody else."""
        lookup = keyed(self._study.needed_key(), f"panel|{panel}")
        of = self._of
        async with self._database.writing() as connection:
            owner = await connection.scalar(
                sa.select(PanelId.pseudonym).where(of, PanelId.lookup == lookup)
            )
            if owner is not None:
                return "noted" if owner in person.accounts else "taken"
            mine = of, PanelId.pseudonym.in_(person.accounts)
            if await connection.scalar(sa.select(PanelId.lookup).where(*mine)) is not None:
                return "other"
            values = {"study": self._study.id, "lookup": lookup, "pseudonym": person.pseudonym}
            row = values | {"panel": panel, "at": self._database.clock()}
            return "noted" if await add(connection, PanelId, row) else "taken"

    async def of(self, person: Person) -> str:
        mine = self._of, PanelId.pseudonym.in_(person.accounts)
        return await self._database.scalar(sa.select(PanelId.panel).where(*mine)) or ""

    async def listed(self) -> list[tuple[str, str, str]]:
        """List (panel id, code, how it stands) of everybody who came from a panel."""
        row = Enrolment
        query = sa.select(PanelId.panel, row.code, row.completed_at, row.excluded).join(
            row,
            sa.and_(row.pseudonym == PanelId.pseudonym, row.study == PanelId.study),
            isouter=True,
        )
        rows = await self._database.rows(query.where(self._of))
        return sorted(
            (r.panel, r.code or "", r.excluded or ("done" if r.completed_at else "not done"))
            for r in rows
        )

"""Who people are to a recruitment panel: kept apart from the data, to pay by, and in no export."""

import hashlib
import hmac

import sqlalchemy as sa

from engine.ledger.transactions import Database, add, repeated
from engine.study.consent.participants import Person
from engine.study.experiments.tables import Enrolment, PanelId
from engine.study.study import Study


class Panel:
    def __init__(self, database: Database, study: Study) -> None:
        self._database = database
        self._study = study

    @repeated
    async def note(self, person: Person, panel: str) -> str:
        """Note a panel's id: "noted"; or "other", the first one stands; "taken", by somebody else."""
        key = self._study.needed_key()
        lookup = hmac.new(key, f"panel|{panel}".encode(), hashlib.sha256).hexdigest()
        of = PanelId.study == self._study.id
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
        mine = PanelId.study == self._study.id, PanelId.pseudonym.in_(person.accounts)
        return await self._database.scalar(sa.select(PanelId.panel).where(*mine)) or ""

    async def listed(self) -> list[tuple[str, str, str]]:
        """List (panel id, code, how it stands) of everybody who came from a panel."""
        row = Enrolment
        query = sa.select(PanelId.panel, row.code, row.completed_at, row.excluded).join(
            row,
            sa.and_(row.pseudonym == PanelId.pseudonym, row.study == PanelId.study),
            isouter=True,
        )
        rows = await self._database.rows(query.where(PanelId.study == self._study.id))
        return sorted(
            (r.panel, r.code or "", r.excluded or ("done" if r.completed_at else "not done"))
            for r in rows
        )

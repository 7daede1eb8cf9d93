"""What only one process at a time may do, on a ledger that several share: a gateway, polling.

A lease lapses LEASE_SECONDS after its holder last said that it is there, by the server's own clock.
On a SQLite ledger there is one serving process, so that everything is its own.
"""

import sqlalchemy as sa

from engine.ledger.tables import Lease
from engine.ledger.transactions import Database, lasting

LEASE_SECONDS = 15.0
RENEW_SECONDS = 4.0  # three may fail before it lapses

NOW: sa.ColumnElement[float] = sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)


class Leases:
    """Taken, renewed and given back by name. `holder` names this process among all."""

    def __init__(self, database: Database, holder: str) -> None:
        self._database = database
        self.holder = holder

    @property
    def needed(self) -> bool:
        """Tell whether anybody else could be there."""
        return self._database.dialect != "sqlite"

    @lasting
    async def take(self, name: str) -> str:
        """Take it, or keep it: "" when it is ours for LEASE_SECONDS, else who has it."""
        mine = self.holder
        if not self.needed:
            return ""
        from sqlalchemy.dialects import postgresql  # loaded by then; nobody else waits for it

        insert = postgresql.insert(Lease).values(name=name, holder=mine, until=NOW + LEASE_SECONDS)
        statement = insert.on_conflict_do_update(
            index_elements=["name"],
            set_={"holder": mine, "until": NOW + LEASE_SECONDS},
            where=sa.or_(Lease.holder == mine, Lease.until < NOW),
        ).returning(Lease.holder)
        async with self._database.writing(synced=False) as connection:
            if await connection.scalar(statement) is not None:
                return ""
            theirs = await connection.scalar(sa.select(Lease.holder).where(Lease.name == name))
        return str(theirs or "somebody who has just left")

    @lasting
    async def give_back(self, names: tuple[str, ...]) -> None:
        ours = Lease.name.in_(names), Lease.holder == self.holder
        if self.needed:
            async with self._database.writing(synced=False) as connection:
                await connection.execute(sa.delete(Lease).where(*ours))

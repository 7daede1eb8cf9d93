"""Who may spend how much: a token bucket for each asker and each place, kept in the database."""

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.ledger.chat_tables import BucketRow
from engine.ledger.transactions import Database, add, repeated


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """Holds at most `burst` points and gains `hourly` of them; a burst of 0 means no limit."""

    burst: float
    hourly: float

    def now(self, left: float, seconds: float) -> float:
        """Compute what is in it `seconds` later.

        >>> Bucket(burst=10, hourly=60).now(1, 120)
        3.0
        """
        return min(self.burst, left + max(0.0, seconds) * self.hourly / 3600)

    def wait(self, left: float, cost: float) -> float:
        """Compute the seconds until it holds the cost, or could hold no more.

        >>> Bucket(burst=10, hourly=60).wait(1, 4)
        180.0
        """
        lacking = min(cost, self.burst) - left
        if lacking <= 0:
            return 0.0
        return lacking * 3600 / self.hourly if self.hourly > 0 else float("inf")


NO_LIMIT = Bucket(burst=0, hourly=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class TooSoon:
    """Not enough left, for the asker or else in the place; enough after `seconds`."""

    seconds: float
    place: bool


class Quotas:
    """Takes the cost of a request from both buckets, or from none."""

    def __init__(self, database: Database, asker: Bucket, place: Bucket) -> None:
        self._database = database
        self._asker = asker
        self._place = place

    @repeated
    async def take(
        self, platform: str, asker: str, place: str | None, cost: float
    ) -> TooSoon | None:
        """Take the cost, or tell why not; a cost beyond a whole bucket empties it."""
        async with self._database.writing(synced=False) as connection:
            lefts = await self._lefts(connection, platform, asker, place)
            for number, (_, bucket, left) in enumerate(lefts):
                if wait := bucket.wait(left, cost):
                    return TooSoon(seconds=wait, place=number == 1)
            await self._put(connection, {name: max(0.0, left - cost) for name, _, left in lefts})
        return None

    @repeated
    async def give_back(self, platform: str, asker: str, place: str | None, cost: float) -> None:
        async with self._database.writing(synced=False) as connection:
            lefts = await self._lefts(connection, platform, asker, place)
            full = {name: min(bucket.burst, left + cost) for name, bucket, left in lefts}
            await self._put(connection, full)

    async def _lefts(
        self, connection: AsyncConnection, platform: str, asker: str, place: str | None
    ) -> list[tuple[str, Bucket, float]]:
        """Read what is in each bucket; to the transaction's end nobody else may take from it."""
        pairs = [(self._database.person(platform, asker), self._asker)]
        if place is not None:
            pairs.append((self._database.place(platform, place), self._place))
        now, found = self._database.clock(), []
        for lookup, bucket in pairs:
            if not bucket.burst:
                continue
            await add(connection, BucketRow, {"lookup": lookup, "left": bucket.burst, "at": now})
            held = sa.select(BucketRow.left, BucketRow.at).where(BucketRow.lookup == lookup)
            row = (await connection.execute(held.with_for_update())).one()
            found.append((lookup, bucket, bucket.now(row.left, now - row.at)))
        return found

    async def _put(self, connection: AsyncConnection, lefts: dict[str, float]) -> None:
        for lookup, left in lefts.items():
            changed = sa.update(BucketRow).where(BucketRow.lookup == lookup)
            await connection.execute(changed.values(left=left, at=self._database.clock()))

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
        """Take the cost, or tell why not. No place (a chat of two) has no limit of its own.

        A cost beyond a whole bucket empties it: a request that is allowed at all comes through.
        """
        now = self._database.clock()
        async with self._database.writing() as connection:
            pairs = self._buckets(platform, asker, place)
            lefts = []
            for number, (lookup, bucket) in enumerate(pairs):
                left = await self._left(connection, lookup, bucket, now)
                if wait := bucket.wait(left, cost):
                    return TooSoon(seconds=wait, place=number == 1)
                lefts.append(max(0.0, left - cost))
            for (lookup, _), left in zip(pairs, lefts, strict=True):
                await self._put(connection, lookup, left, now)
        return None

    @repeated
    async def give_back(self, platform: str, asker: str, place: str | None, cost: float) -> None:
        """Put the cost of what failed back."""
        now = self._database.clock()
        async with self._database.writing() as connection:
            for lookup, bucket in self._buckets(platform, asker, place):
                left = await self._left(connection, lookup, bucket, now)
                await self._put(connection, lookup, min(bucket.burst, left + cost), now)

    def _buckets(self, platform: str, asker: str, place: str | None) -> list[tuple[str, Bucket]]:
        pairs = [(self._database.person(platform, asker), self._asker)]
        if place is not None:
            pairs.append((self._database.place(platform, place), self._place))
        return [(lookup, bucket) for lookup, bucket in pairs if bucket.burst]

    async def _left(
        self, connection: AsyncConnection, lookup: str, bucket: Bucket, now: float
    ) -> float:
        """Read what is in it; to the transaction's end nobody else may take from it."""
        query = sa.select(BucketRow.left, BucketRow.at).where(BucketRow.lookup == lookup)
        held = query.with_for_update()
        row = (await connection.execute(held)).one_or_none()
        if row is None:
            full = {"lookup": lookup, "left": bucket.burst, "at": now}
            await add(connection, BucketRow, full)
            row = (await connection.execute(held)).one()
        return bucket.now(row.left, now - row.at)

    async def _put(self, connection: AsyncConnection, lookup: str, left: float, now: float) -> None:
        changed = sa.update(BucketRow).where(BucketRow.lookup == lookup)
        await connection.execute(changed.values(left=left, at=now))

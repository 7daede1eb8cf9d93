"""The desk, opened: its parts on one database, and the pictures that they let go of."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from engine.database import open_database
from engine.desk.forgetting import Cleaned, Forgetting, Forgotten
from engine.desk.house import House
from engine.desk.opinions import Opinions
from engine.desk.outbox import Outbox
from engine.desk.quotas import Bucket, Quotas
from engine.ledger import Ledger
from engine.settings import Settings

SETTLE_SECONDS = 0.1
SETTLE_TRIES = 200
NO_LIMIT = Bucket(burst=0, hourly=0)


class Desk:
    """Everything off the event loop; every text and id sealed or keyed as in the ledger."""

    def __init__(self, ledger: Ledger, settings: Settings, asker: Bucket, place: Bucket) -> None:
        self._ledger = ledger
        self.quotas = Quotas(ledger, asker, place)
        self.outbox = Outbox(ledger)
        self.house = House(ledger)
        self.opinions = Opinions(ledger)
        self._forgetting = Forgetting(ledger, settings.home)

    def lookup(self, platform: str, asker: str) -> str:
        """The keyed lookup of a person."""
        return self._ledger.vault.lookup(platform, asker)

    async def forget(self, platform: str, asker: str) -> Forgotten:
        """Everything of one person: rows, pictures, and what a backup would bring back."""
        done, files = await self._forgetting.forget(platform, asker)
        await self._ledger.throw_away(files)
        await self._ledger.fold_away()
        return done

    async def under_way(self, platform: str, asker: str) -> list[str]:
        """The person's jobs without a final state."""
        return await self._forgetting.under_way(platform, asker)

    async def settled(self, platform: str, asker: str) -> bool:
        """Wait until none of theirs is under way; False when that takes too long."""
        for _ in range(SETTLE_TRIES):
            if not await self.under_way(platform, asker):
                return True
            await asyncio.sleep(SETTLE_SECONDS)
        return False

    async def clean(self) -> Cleaned:
        """One round of retention."""
        done, files = await self._forgetting.clean()
        await self._ledger.throw_away(files)
        await self._ledger.throw_again()
        return done

    async def remember_to_forget(self) -> None:
        """Before serving: what was forgotten stays forgotten, whatever database lies here now."""
        await self._ledger.throw_away(await self._forgetting.remember_to_forget())

    async def hide(self, job: str) -> None:
        """Blank one answer."""
        await self._ledger.throw_away(await self.opinions.hide(job))

    async def seen(self, platform: str, update: str) -> bool:
        """Whether this update was taken before; from now on it was."""
        return await self._forgetting.seen(platform, update)


@asynccontextmanager
async def open_desk(
    settings: Settings,
    *,
    asker: Bucket = NO_LIMIT,
    place: Bucket = NO_LIMIT,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Desk]:
    """A desk on the ledger's database, whose schema must be the newest already.

    Its commits are not synced one by one: a power cut may cost a quota's last points or a thumb.
    """
    ledger = Ledger(await open_database(settings, synced=False), settings.media, clock)
    try:
        desk = Desk(ledger, settings, asker, place)
        await desk.remember_to_forget()
        yield desk
    finally:
        await asyncio.shield(ledger.close())

"""What clients share besides requests, as parts on one ledger."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Sequence

from engine.chat.feedback import Feedback, Judged
from engine.chat.forgetting import Forgetting, Forgotten
from engine.chat.places import Places
from engine.chat.quotas import Bucket, Quotas
from engine.chat.retention import ALARM_SECONDS, Cleaned, Retention
from engine.ledger.chat_tables import SeenRow
from engine.ledger.leases import Leases
from engine.ledger.ledger import Ledger
from engine.ledger.observers import ChatObserver
from engine.ledger.outbox import Outbox
from engine.ledger.transactions import add, repeated
from engine.settings import Settings

SETTLE_SECONDS = 0.1
SETTLE_TRIES = 200
NO_LIMIT = Bucket(burst=0, hourly=0)

log = logging.getLogger(__name__)


class Chat:
    """Every text and id in it is sealed or keyed as in the ledger."""

    def __init__(
        self,
        ledger: Ledger,
        settings: Settings,
        asker: Bucket = NO_LIMIT,
        place: Bucket = NO_LIMIT,
        observers: Sequence[ChatObserver] = (),
    ) -> None:
        self.ledger = ledger
        self.quotas = Quotas(ledger, asker, place)
        self.outbox = Outbox(ledger)
        self.leases = Leases(ledger, self.outbox.sender)
        self.places = Places(ledger)
        self.feedback = Feedback(ledger, observers)
        self.forgetting = Forgetting(ledger, settings.home, observers)
        self.retention = Retention(ledger, settings.home, observers)

    def lookup(self, platform: str, asker: str) -> str:
        """The keyed lookup of a person."""
        return self.ledger.vault.lookup(platform, asker)

    async def forget_all(self, platform: str, asker: str, names: Sequence[str] = ()) -> Forgotten:
        """Everything of one person: rows, pictures, and what a backup would bring back."""
        done = await self.forgetting.forget(platform, asker, names)
        await self.ledger.throw_away()
        await self.ledger.fold_away()
        return done

    async def leave(self, platform: str, place: str, within: Sequence[str] = ()) -> None:
        """The bot was sent away from a group or server; `within` are the places in it."""
        await self.forgetting.leave(platform, [place, *within])
        await self.ledger.throw_away()

    async def rename(self, platform: str, place: str, now: str) -> None:
        """A group goes by another name: settings, blocks and quota go along."""
        await self.places.rename(platform, place, now)

    async def under_way(self, platform: str, asker: str) -> list[str]:
        """The person's jobs without a final state."""
        return await self.forgetting.under_way(platform, asker)

    async def settled(self, platform: str, asker: str) -> bool:
        """Wait until none of theirs is under way; False when that takes too long."""
        for _ in range(SETTLE_TRIES):
            if not await self.under_way(platform, asker):
                return True
            await asyncio.sleep(SETTLE_SECONDS)
        return False

    async def pictures(self, names: Iterable[str]) -> AsyncIterator[tuple[str, bytes]]:
        """Those of the stored pictures that are there still, by name."""
        for name in names:
            data = await asyncio.to_thread(self.ledger.media.get, name)
            if data is not None:
                yield name, data

    async def clean(self, *, dry_run: bool = False) -> Cleaned:
        """One round of retention; a dry run only counts. Too long a time without one is an alarm."""
        silent = await self.retention.silence()
        if silent is not None and silent > ALARM_SECONDS:
            log.error("retention has not run for long", extra={"hours": round(silent / 3600)})
        done = await self.retention.clean(dry_run=dry_run)
        if not dry_run:
            await self.ledger.throw_away()
        return done

    async def overdue(self) -> list[str]:
        """The jobs that nobody has ended in all the time that words are kept."""
        return await self.retention.overdue()

    async def silence(self) -> float | None:
        """Seconds since the last round of retention; see Retention.silence."""
        return await self.retention.silence()

    async def remember_to_forget(self) -> None:
        """Before serving: what was forgotten stays forgotten, whatever database lies here now."""
        await self.forgetting.remember_to_forget()
        await self.ledger.throw_away()

    async def hide(self, job: str) -> None:
        """Blank one answer."""
        await self.feedback.hide(job)
        await self.ledger.throw_away()

    async def judged(
        self, platform: str, asker: str, job: str | None, judged: Sequence[Judged]
    ) -> None:
        """Note verdicts; pictures of an answer that was stopped, and that an observer had, go."""
        await self.feedback.judged(platform, asker, job, judged)
        if any(one.verdict.stops for one in judged):
            await self.ledger.throw_away()

    @repeated
    async def seen(self, platform: str, update: str) -> bool:
        """Note an update; True if it was noted before."""
        row = {"platform": platform, "update": update, "at": self.ledger.clock()}
        async with self.ledger.writing() as connection:
            return not await add(connection, SeenRow, row)

"""The desk, opened: its parts on one database, and the pictures that they let go of."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from engine.chat.feedback import Feedback, Judged, verdict_row
from engine.chat.forgetting import Cleaned, Forgetting, Forgotten
from engine.chat.places import Places
from engine.chat.quotas import Bucket, Quotas
from engine.ledger.leases import Leases
from engine.ledger.ledger import Ledger
from engine.ledger.outbox import Outbox
from engine.ledger.storage import open_database
from engine.plan.job import Request
from engine.plan.router import Route
from engine.settings import Settings
from engine.study.consent.agreements import Agreements
from engine.study.observer import observer_for
from engine.study.retention import ALARM_SECONDS, silence
from engine.study.services import StudyServices
from engine.study.study import folder_of

log = logging.getLogger(__name__)

SETTLE_SECONDS = 0.1
SETTLE_TRIES = 200
NO_LIMIT = Bucket(burst=0, hourly=0)


class Desk:
    """Everything off the event loop; every text and id sealed or keyed as in the ledger."""

    def __init__(self, ledger: Ledger, settings: Settings, asker: Bucket, place: Bucket) -> None:
        study = ledger.collecting.study if ledger.collecting is not None else None
        self._ledger = ledger
        self.quotas = Quotas(ledger, asker, place)
        self.outbox = Outbox(ledger)
        self.leases = Leases(ledger, self.outbox.sender)
        self.places = Places(ledger)
        self.feedback = Feedback(ledger, study)
        self.agreements = Agreements(ledger, settings, study)
        self.lab = (
            StudyServices(ledger, study, folder_of(settings, study.id))
            if study is not None
            else None
        )
        self._forgetting = Forgetting(ledger, settings.home)

    @property
    def ledger(self) -> Ledger:
        """What it is kept in."""
        return self._ledger

    def lookup(self, platform: str, asker: str) -> str:
        """The keyed lookup of a person."""
        return self._ledger.vault.lookup(platform, asker)

    async def forget(self, platform: str, asker: str) -> Forgotten:
        """Everything of one person: rows, pictures, and what a backup would bring back."""
        names = await self.agreements.names(platform, asker)
        done = await self._forgetting.forget(platform, asker, names.known)
        await self._ledger.throw_away()
        await self._ledger.fold_away()
        return replace(done, lost=names.lost)

    async def withdraw_all(self, platform: str, asker: str) -> int:
        """Delete what the study has of somebody who withdrew; how many interactions that was."""
        count = await self.agreements.delete(platform, asker)
        await self._ledger.throw_away()
        await self._ledger.fold_away()
        return count

    async def leave(self, platform: str, place: str, within: Sequence[str] = ()) -> None:
        """The bot was sent away from a group or server; `within` are the places in it."""
        if self.agreements.study is not None and self.agreements.study.key is not None:
            await self.agreements.switch(platform, place, "server" if within else "group", "left")
        await self._forgetting.leave(platform, [place, *within])
        await self._ledger.throw_away()

    async def rename(self, platform: str, place: str, now: str) -> None:
        """A group goes by another name: settings, blocks, quota and taking part in a study go along."""
        await self.places.rename(platform, place, now)
        study = self.agreements.study
        if study is None or study.key is None:
            return
        if await self.agreements.takes_part(platform, place):
            await self.agreements.switch(platform, now, "group", "on")
            await self.agreements.switch(platform, place, "group", "left")

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

    async def pictures(self, names: Iterable[str]) -> AsyncIterator[tuple[str, bytes]]:
        """Those of the stored pictures that are there still, by name."""
        for name in names:
            data = await asyncio.to_thread(self._ledger.media.get, name)
            if data is not None:
                yield name, data

    async def clean(self, *, dry_run: bool = False) -> Cleaned:
        """One round of retention; a dry run only counts. Too long a time without one is an alarm."""
        silent = await silence(self._ledger)
        if silent is not None and silent > ALARM_SECONDS:
            log.error("retention has not run for long", extra={"hours": round(silent / 3600)})
        done = await self._forgetting.clean(dry_run=dry_run)
        if not dry_run:
            await self._ledger.throw_away()
        return done

    async def overdue(self) -> list[str]:
        """The jobs that nobody has ended in all the time that words are kept."""
        return await self._forgetting.overdue()

    async def silence(self) -> float | None:
        """Seconds since the last round of retention; see retention.silence."""
        return await silence(self._ledger)

    async def remember_to_forget(self) -> None:
        """Before serving: what was forgotten stays forgotten, whatever database lies here now."""
        await self._forgetting.remember_to_forget()
        await self._ledger.throw_away()

    async def hide(self, job: str) -> None:
        """Blank one answer."""
        await self.feedback.hide(job)
        await self._ledger.throw_away()

    async def judged(
        self, platform: str, asker: str, job: str | None, judged: Sequence[Judged]
    ) -> None:
        """See Feedback.judged; the study's pictures of an answer that was stopped go."""
        await self.feedback.judged(platform, asker, job, judged)
        if any(one.verdict.stops for one in judged):
            await self._ledger.throw_away()

    async def refused(
        self, request: Request, route: Route, medium: str, judged: Sequence[Judged]
    ) -> None:
        """Moderation stopped it before it was a job: for the study, if its asker takes part."""
        at = self._ledger.clock()
        values = [{**verdict_row(one), "at": at} for one in judged]
        await self.agreements.refused(request, route, medium, values)

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
        ledger.collecting = await observer_for(settings, ledger)
        desk = Desk(ledger, settings, asker, place)
        await desk.remember_to_forget()
        if desk.lab is not None:
            await desk.lab.open()
        yield desk
    finally:
        await asyncio.shield(ledger.close())

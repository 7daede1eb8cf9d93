"""The composition root of the engine: the ledger, what the chat keeps, and the study, put together.

Nothing else in engine imports the study. What the study keeps, it is told by the ledger and the chat.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.chat.feedback import Feedback
from engine.chat.forgetting import Forgetting, Forgotten
from engine.chat.places import Places
from engine.chat.quotas import NO_LIMIT, Bucket, Quotas
from engine.chat.retention import Retention
from engine.chat.stories import Stories
from engine.ledger.chat_tables import SeenRow
from engine.ledger.leases import Leases
from engine.ledger.ledger import Ledger
from engine.ledger.outbox import Outbox
from engine.ledger.storage import open_database
from engine.ledger.transactions import Database, add, repeated
from engine.settings import Settings
from engine.study.consent.agreements import Agreements
from engine.study.observer import StudyObserver
from engine.study.study import folder_of, open_study

if TYPE_CHECKING:
    from engine.plan.job import Spot
    from engine.study.consent.participants import Person
    from engine.study.study_services import StudyServices


@asynccontextmanager
async def open_ledger(
    settings: Settings, *, synced: bool = True, clock: Callable[[], float] = time.time
) -> AsyncIterator[Ledger]:
    """Open a ledger of the newest schema, observed by the study; not `synced`, a power cut may cost."""
    database = await open_database(settings, synced=synced)
    opened = Database(database, clock)
    try:
        observer = StudyObserver(await open_study(settings, opened))
        yield Ledger(database, settings.media, clock, [observer])
    finally:
        await asyncio.shield(opened.close())


class Services:
    """What clients share besides requests; `study_services` are there while a study runs."""

    def __init__(
        self, ledger: Ledger, settings: Settings, asker: Bucket = NO_LIMIT, place: Bucket = NO_LIMIT
    ) -> None:
        observers = [each for each in ledger.observers if isinstance(each, StudyObserver)]
        study = observers[0].study if observers else None
        self.ledger = ledger
        self.quotas = Quotas(ledger, asker, place)
        self.outbox = Outbox(ledger)
        self.leases = Leases(ledger, self.outbox.sender)
        self.places = Places(ledger)
        self.feedback = Feedback(ledger)
        self.stories = Stories(ledger)
        self.forgetting = Forgetting(ledger, settings.home)
        self.retention = Retention(ledger, settings.home, settings.terminal_hours * 3600.0)
        self.agreements = Agreements(ledger, settings, study)
        self.study_services: StudyServices | None = None
        if study is not None:  # who has none does not wait for its libraries
            from engine.study import study_services

            folder = folder_of(settings, study.id)
            self.study_services = study_services.StudyServices(ledger, study, folder)

    @property
    def study(self) -> "StudyServices":
        assert self.study_services is not None, "somebody takes part"
        return self.study_services

    async def participant(self, spot: "Spot") -> "Person | None":
        return None if self.study_services is None else await self.study_services.person(spot)

    async def forget(self, platform: str, asker: str, chat: str = "") -> Forgotten:
        """Delete everything of one person, in all studies too; `chat` is of the two of us."""
        await self.places.own(platform, asker, chat)
        names = await self.agreements.names(platform, asker)
        return replace(await self.forgetting.forget(platform, asker, names.known), lost=names.lost)

    async def withdraw_all(self, platform: str, asker: str) -> int:
        """Delete what the study has of somebody who withdrew; how many interactions that was."""
        count = await self.agreements.delete(platform, asker)
        await self.ledger.throw_away()
        await self.ledger.fold_away()
        return count

    async def leave(self, platform: str, place: str, within: Sequence[str] = ()) -> None:
        """Erase what was asked in a group or server that sent us away; `within` are the places in it."""
        await self._switch(platform, place, "server" if within else "group", "left")
        await self.forgetting.leave(platform, [place, *within])

    async def rename(self, platform: str, place: str, now: str) -> None:
        """Let settings, blocks, quota and part in a study go along when a group gets another name."""
        await self.places.rename(platform, place, now)
        study = self.agreements.study
        if study and study.key and await self.agreements.takes_part(platform, place):
            await self._switch(platform, now, "group", "on")
            await self._switch(platform, place, "group", "left")

    async def _switch(self, platform: str, place: str, kind: str, action: str) -> None:
        if self.agreements.study is not None and self.agreements.study.key is not None:
            await self.agreements.switch(platform, place, kind, action)

    @repeated
    async def seen(self, platform: str, update: str) -> bool:
        row = {"platform": platform, "update": update, "at": self.ledger.clock()}
        async with self.ledger.writing(synced=False) as connection:
            return not await add(connection, SeenRow, row)


@asynccontextmanager
async def services_on(
    ledger: Ledger, settings: Settings, asker: Bucket = NO_LIMIT, place: Bucket = NO_LIMIT
) -> AsyncIterator[Services]:
    services = Services(ledger, settings, asker, place)
    await services.forgetting.remember_to_forget()
    if services.study_services is not None:
        await services.study_services.open()
    yield services


@asynccontextmanager
async def open_services(
    settings: Settings,
    *,
    asker: Bucket = NO_LIMIT,
    place: Bucket = NO_LIMIT,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[Services]:
    """Open services on a ledger of their own; a power cut may cost a quota's last points."""
    async with (
        open_ledger(settings, synced=False, clock=clock) as ledger,
        services_on(ledger, settings, asker, place) as services,
    ):
        yield services

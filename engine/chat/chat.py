"""What clients share besides requests, as parts on one ledger."""

import logging
from collections.abc import Sequence

from engine.chat.feedback import Feedback
from engine.chat.forgetting import Forgetting
from engine.chat.places import Places
from engine.chat.quotas import Bucket, Quotas
from engine.chat.retention import Retention
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
        self.under_way, self.settled = self.forgetting.under_way, self.forgetting.settled
        self.pictures, self.hide = self.ledger.pictures, self.feedback.hide
        self.judged, self.clean = self.feedback.judged, self.retention.clean
        self.overdue, self.silence = self.retention.overdue, self.retention.silence
        self.remember_to_forget = self.forgetting.remember_to_forget

    def lookup(self, platform: str, asker: str) -> str:
        """The keyed lookup of a person."""
        return self.ledger.person(platform, asker)

    async def leave(self, platform: str, place: str, within: Sequence[str] = ()) -> None:
        """The bot was sent away from a group or server; `within` are the places in it."""
        await self.forgetting.leave(platform, [place, *within])

    async def rename(self, platform: str, place: str, now: str) -> None:
        """A group goes by another name: settings, blocks and quota go along."""
        await self.places.rename(platform, place, now)

    @repeated
    async def seen(self, platform: str, update: str) -> bool:
        """Note an update; True if it was noted before."""
        row = {"platform": platform, "update": update, "at": self.ledger.clock()}
        async with self.ledger.writing() as connection:
            return not await add(connection, SeenRow, row)

"""One answer under way on any platform: events folded into a draft, shown as it grows, delivered.

What cannot be delivered now stays owed and comes again from the outbox; what never can is given up.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar

from bot.clients.pacing import TooFast, Vanished, why
from bot.messages.draft import Draft, fold
from bot.service.request import Reply, Who
from engine.errors import OurError
from engine.events import Cancelled, Event, Failed, Finished, Queued, is_final
from engine.shutdown import within

if TYPE_CHECKING:
    from bot.service.dispatch_table import Events
    from bot.service.service import ChatService

LEAVE_SECONDS = 5.0  # how long a word of farewell is tried

Final = Finished | Failed | Cancelled

log = logging.getLogger(__name__)


class Settled(Exception):
    """Say that the answer has arrived already, or that another bot sends it."""


class LiveAnswer(ABC):
    """Follow one job from its first event to its delivery; subclasses say how that looks."""

    line_seconds = 0.0  # between two words on its place in the queue,
    place_seconds = 0.1  # and for each answer before it: all who wait share one rate limit
    try_seconds = 270.0  # less than outbox.SENDING_SECONDS, after which another bot sends it
    passing: ClassVar[tuple[type[Exception], ...]] = (OurError,)  # faults that leave it owed

    def __init__(self, service: "ChatService", who: Who) -> None:
        self.service = service
        self.registry = service.context.registry
        self.who = who
        self.draft = Draft()
        self._left = False
        self._settled = False  # it has arrived already, or another bot sends it
        self._quiet_until = float("-inf")

    async def follow(self, events: "Events") -> Reply | None:
        """Show the answer as it grows, then whole; give back a reply in words, which is not shown."""
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Reply):
                        return event
                    if self._left:
                        return None
                    self.see(event)
            if self.draft.final is None:
                raise OurError("the events ended before the answer")
            await self._deliver(self.draft.final)
        finally:
            await self.stop()
        return None

    async def leave(self) -> None:
        """Say that the bot is being restarted; the answer stays owed."""
        self._left = True
        try:
            await within(LEAVE_SECONDS, self.farewell())
        except Exception as error:  # noqa: BLE001 - it is a courtesy
            log.info("an answer was left as it stood", extra=self._facts(error))

    def see(self, event: Event) -> None:
        # An answer that was ready before we asked begins with its end.
        self.draft = replace(fold(self.draft, event), job=event.job)
        if is_final(event):
            return
        if isinstance(event, Queued):
            now = time.monotonic()
            if now < self._quiet_until:
                return
            self._quiet_until = now + self.line_seconds + self.place_seconds * event.position
        self.grow()

    @abstractmethod
    def grow(self) -> None:
        """Show the draft, which is not final."""

    @abstractmethod
    async def finish(self, final: Final) -> list[str]:
        """Deliver the whole answer; give the names of its messages ("chat:message"). Raises Vanished, or
        one of `passing`."""

    @abstractmethod
    async def farewell(self) -> None:
        """Say in the answer's place that the bot is being restarted."""

    async def stop(self) -> None:  # noqa: B027 - where the message itself ends what it shows
        """Show nothing more."""

    async def invitation(self) -> Reply | None:
        """Give what the study asks after an answer that was shown whole, if anything."""
        whole = isinstance(self.draft.final, Finished) and not self._settled
        return await self.service.invitation(self.who, self.draft.job) if whole else None

    async def footer(self, final: Final) -> str:
        return await self.service.footer(final, self.who) if isinstance(final, Finished) else ""

    async def addressed(self, address: str) -> None:
        with _noting():
            await self.service.context.services.outbox.addressed(self.draft.job, address)

    async def sending(self) -> None:
        with _noting():
            if not await self.service.context.services.outbox.sending(self.draft.job):
                raise Settled

    async def _deliver(self, final: Final) -> None:
        job = self.draft.job
        try:
            messages = await within(self.try_seconds, self.finish(final))
        except Settled as error:
            log.info("an answer is not sent a second time", extra=self._facts(error))
            self._settled = True
            self.service.deliveries.drop(job)
        except Vanished as error:
            log.info("an answer has nowhere to go", extra=self._facts(error))
            await self.service.deliveries.lost(job, str(error))
        except self.passing as error:
            log.warning("an answer is still owed", extra=self._facts(error))
            seconds = error.seconds if isinstance(error, TooFast) else 0.0
            await self.service.deliveries.undelivered(job, seconds)
        else:
            with _noting():
                await self.service.deliveries.delivered(job, messages)

    def _facts(self, error: Exception) -> dict[str, str]:
        return {"job": self.draft.job, "why": why(error)}


@contextmanager
def _noting() -> Iterator[None]:
    """Let no ledger that is too busy for a note about a delivery stop the answer."""
    try:
        yield
    except OurError:
        log.exception("a delivery was not noted")

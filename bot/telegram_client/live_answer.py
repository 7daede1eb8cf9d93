"""From the events of a job to an answer in a chat, with signs of life on the way."""

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress

from bot.clients.pacing import TooFast, Vanished
from bot.locales import words
from bot.messages.draft import Draft, fold
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from bot.telegram_client.address import Place, address
from bot.telegram_client.api import Barred, Unsure
from bot.telegram_client.messages import Sender
from bot.telegram_client.parts import Part, TextMessage, joined, quiet
from bot.telegram_client.rendering import items_of, status_of, text_of
from bot.telegram_client.replies import items_of as said_items
from bot.telegram_client.stages import Drafted, Edited, Stage
from engine.errors import OurError
from engine.events import Event, Finished, Queued
from engine.shutdown import end, within

ACTION_SECONDS = 4.5  # Telegram shows an action for five
LINE_SECONDS = 4.0  # the place in the queue is told no more often
PER_PLACE_SECONDS = 0.1  # and so much less often for each answer before this one
LEAVE_SECONDS = 5.0
PATIENCE_SECONDS = 60.0  # a longer pause is written down, and outlasts this process

_draft_ids = itertools.count(1)

log = logging.getLogger(__name__)


class LiveAnswer:
    """One answer under way in a chat. `reply_to` is the message that asked for it; `message` one of
    ours that holds its place already; `unsure`: it may have arrived before the last restart."""

    def __init__(
        self,
        talk: ChatService,
        sender: Sender,
        who: Who,
        place: Place,
        reply_to: int = 0,
        *,
        message: int = 0,
        unsure: bool = False,
    ) -> None:
        self._talk = talk
        self._sender = sender
        self._place = place
        self._who = who
        self._marked = unsure and not message
        self._told_line = float("-inf")
        self.barred = False  # it could not be shown, for want of a right in the chat
        self.draft = Draft()
        self.stage: Stage
        if place.private:
            self.stage = Drafted(
                sender,
                place,
                reply_to,
                message=message,
                note=self._note,
                draft=next(_draft_ids),
                unsure=unsure,
            )
        else:
            self.stage = Edited(sender, place, reply_to, message=message, note=self._note)

    async def run(self, events: AsyncGenerator[Event | Reply]) -> list[int]:
        """Show the events, and deliver the end; the numbers of its messages.

        Raises OurError when the engine broke off.
        """
        signs = asyncio.create_task(self._signs())
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Reply):  # moderation has stopped it, or it is a pair
                        return await self._say(event)
                    self._see(event)
            if self.draft.final is None:
                raise OurError("the events ended before the answer")
            return await self._deliver()
        except asyncio.CancelledError:
            await self._leave()
            raise
        finally:
            await end(signs)

    async def _say(self, said: Reply) -> list[int]:
        """Words in the answer's place."""
        try:
            messages = await self.stage.finish(await asyncio.to_thread(said_items, said))
        except (Unsure, Vanished, TooFast):
            await self._talk.missed(said.receipt)
            raise
        await self._talk.arrived(said.receipt)
        return messages

    def _see(self, event: Event) -> None:
        self.draft = fold(self.draft, event)
        if self.draft.final is not None or (isinstance(event, Queued) and not self._line_is_due()):
            return
        self.stage.show(
            status_of(self.draft, self._talk.registry, self._who.locale), text_of(self.draft)
        )

    def _line_is_due(self) -> bool:
        """Whether to tell the place in the queue again: a thousand who wait share one rate limit."""
        wait = LINE_SECONDS + PER_PLACE_SECONDS * self.draft.position
        due = time.monotonic() - self._told_line >= wait
        self._told_line = time.monotonic() if due else self._told_line
        return due

    async def _note(self, message: int) -> None:
        """Keep, for a restart, which message holds the answer's place."""
        with _noting():
            await self._talk.addressed(self.draft.job, address(self._place, message))

    async def _deliver(self) -> list[int]:
        """The end, and what became of it."""
        talk, job = self._talk, self.draft.job
        with _noting():
            await talk.sending(job)
        try:
            messages = await self._finish()
        except Unsure:
            await talk.undelivered(job)
            return []
        except Vanished as error:
            self.barred = isinstance(error, Barred)
            await talk.lost(job, str(error))
            return []
        except TooFast as error:
            await talk.undelivered(job, error.seconds)
            return []
        except Exception as error:  # noqa: BLE001 - whatever the platform did, the debt remains
            log.warning("not delivered", extra={"job": job, "why": type(error).__name__})
            await talk.undelivered(job)
            return []
        with _noting():
            await talk.delivered(job, [f"{self._place.chat}:{message}" for message in messages])
        return messages

    async def _finish(self) -> list[int]:
        """Send the end; a second time, marked, if the first may be lost: rather twice than never."""
        try:
            return await self.stage.finish(await self._items(), PATIENCE_SECONDS)
        except Unsure:
            self._marked = True
            return await self.stage.finish(await self._items(), PATIENCE_SECONDS)

    async def _items(self) -> list[Part]:
        final, registry = self.draft.final, self._talk.registry
        footer = await self._talk.footer(final, self._who) if isinstance(final, Finished) else ""
        name = f"pastiche-{self.draft.job.lower()}"
        locale = self._who.locale
        items = await asyncio.to_thread(items_of, self.draft, footer, name, registry, locale)
        if self._marked and isinstance(items[0], TextMessage):
            note = quiet(words("telegram.perhaps_again", self._who.locale))
            items[0] = TextMessage(text=joined(note, items[0].text), rows=items[0].rows)
        return items

    async def _leave(self) -> None:
        """The bot is being restarted: say so where the answer would be."""
        if self.draft.final is None:
            farewell = asyncio.create_task(self._say_farewell(), name="farewell")
            self._sender.farewells.add(farewell)  # it outlasts a second cancellation
            farewell.add_done_callback(self._sender.farewells.discard)
            await asyncio.wait({farewell})

    async def _say_farewell(self) -> None:
        told = TextMessage(text=quiet(words("telegram.restarting", self._who.locale)))
        with suppress(Exception):
            await within(LEAVE_SECONDS, self.stage.leave(told))

    async def _signs(self) -> None:
        """“typing…” above the chat, again and again while it is being written or drawn."""
        while True:
            await asyncio.sleep(ACTION_SECONDS)
            waiting = self.draft.stage == "waiting"  # a thousand who wait need no thousand signs
            if not waiting and self._sender.pace(self._place).held < ACTION_SECONDS:
                drawing = self.draft.stage == "drawing"
                await self._sender.action(self._place, "upload_photo" if drawing else "typing")


@contextmanager
def _noting() -> Iterator[None]:
    """Around a note about a delivery: a ledger that is too busy for it must not stop the answer."""
    try:
        yield
    except OurError:
        log.exception("a delivery was not noted")

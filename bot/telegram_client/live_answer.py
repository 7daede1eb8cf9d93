"""One answer in a Telegram chat: a message that grows by edits, and those below it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from telegram.error import TelegramError

from bot.clients.live_answer import Final, LiveAnswer, Settled
from bot.clients.pacing import Coalescer, TooFast, Vanished
from bot.locales import words
from bot.messages.split import joined
from bot.service.dispatch_table import Events
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from bot.telegram_client.api import Barred, Lost, Place, Unsure, address
from bot.telegram_client.messages import FLOOD_SECONDS, Sender
from bot.telegram_client.rendering import Part, Photo, TextMessage, grown, parts_of, reply_parts

PATIENCE_SECONDS = 60.0  # a longer pause or outage is written down, and outlasts this process

log = logging.getLogger(__name__)


class TelegramAnswer(LiveAnswer):
    """Show one answer in a chat. `reply_to` is the message that asked for it; `message` one of ours
    that holds its place already, after which `parts` stand; `unsure`: it may have arrived before the
    last restart."""

    line_seconds = 4.0
    passing = (*LiveAnswer.passing, TooFast, TelegramError, OSError)

    def __init__(
        self,
        service: ChatService,
        sender: Sender,
        who: Who,
        place: Place,
        reply_to: int = 0,
        *,
        message: int = 0,
        parts: int = 0,
        unsure: bool = False,
    ) -> None:
        super().__init__(service, who)
        self._sender = sender
        self._place = place
        self._marked = unsure and not message
        self.barred = False  # it could not be shown, for want of a right in the chat
        self.sent: list[int] = []  # the numbers of its messages
        stands = {"message": message, "standing": parts}
        self._message = LiveMessage(
            sender, place, reply_to, **stands, note=self._note, locale=who.locale
        )

    async def follow(self, events: Events) -> Reply | None:
        """Show words that come amid an answer in its place; give back those that come first."""
        said = await super().follow(events)
        if said is None or not self.draft.job:
            return said
        try:  # moderation has stopped it, or it is a pair
            self.sent = await self._message.finish(await asyncio.to_thread(reply_parts, said))
        except (Vanished, TooFast):
            await self.service.missed(said.receipt)
            raise
        await self.service.arrived(said.receipt)
        return None

    def grow(self) -> None:
        self._message.show(grown(self.draft, self.registry, self.who.locale))

    async def finish(self, final: Final) -> list[str]:
        """Send the end; a second time, marked, if the first may be lost: rather twice than never."""
        try:
            await self.sending()
        except Settled:
            await self._message.stop()
            raise
        try:
            try:
                self.sent = await self._message.finish(await self._parts(final), PATIENCE_SECONDS)
            except Unsure:
                self._marked = True
                self.sent = await self._message.finish(await self._parts(final), PATIENCE_SECONDS)
        except Unsure as error:
            raise ConnectionError("the connection broke") from error
        except Barred:
            self.barred = True
            raise
        return [f"{self._place.chat}:{message}" for message in self.sent]

    async def farewell(self) -> None:
        """Put it where the answer would be, in a message of its own if there is none yet."""
        await self._message.leave(TextMessage(text=words("telegram.restarting", self.who.locale)))

    async def _note(self, message: int, parts: int) -> None:
        await self.addressed(address(self._place, message, parts))

    async def _parts(self, final: Final) -> list[Part]:
        name, locale = f"pastiche-{self.draft.job.lower()}", self.who.locale
        about = (await self.footer(final), name, self.registry, locale)
        parts = await asyncio.to_thread(parts_of, self.draft, *about)
        if self._marked and isinstance(parts[0], TextMessage):
            note = words("telegram.perhaps_again", locale)
            parts[0] = replace(parts[0], text=joined(note, parts[0].text))
        return parts


class LiveMessage:
    """`reply_to` is the asker's message; `note` hears which is our first, and how many follow it."""

    def __init__(
        self,
        sender: Sender,
        place: Place,
        reply_to: int = 0,
        *,
        message: int = 0,
        standing: int = 0,
        note: Callable[[int, int], Awaitable[None]] | None = None,
        locale: str = "en",
    ) -> None:
        self._note = note
        self._sender = sender
        self._place = place
        self._reply_to = reply_to
        self._message = message
        self._standing = standing
        self._locale = locale
        self._media = False
        self._lost = False
        self._first: asyncio.Task[int] | None = None
        self._ending = False
        self._edits = self._coalescer()

    def _coalescer(self) -> Coalescer[Part]:
        return Coalescer(self._sender.pace(self._place), self._send, deadline=FLOOD_SECONDS)

    def show(self, part: Part) -> None:
        """Let it be that. Somebody who deletes it while it grows sees it again when it is done."""
        if not self._lost:
            self._edits.show(part)

    async def finish(self, parts: list[Part], longest: float = FLOOD_SECONDS) -> list[int]:
        """Show it whole, and give the numbers of its messages. Raises Vanished, TooFast, and Unsure
        when a first message may have arrived: then it may be called again."""
        first, *rest = parts
        self._ending = True
        try:
            await self._edits.finish(first, longest)
        except Unsure:
            self._edits = self._coalescer()
            raise
        except Lost:
            await self._sender.delete(self._place, self._message)  # it may only be unfit
            self._message = await self._sender.deliver(self._place, first, self._reply_to, longest)
        except Barred:
            await self._send(self._barred(first))
        numbers = [self._message]
        for part in rest[self._standing :]:
            if self._note is not None:  # another try goes on from here
                await self._note(self._message, self._standing)
            numbers.append(await self._add(part, longest))
            self._standing += 1
        return numbers

    async def stop(self) -> None:
        """Show nothing of it any more, where another has shown its end."""
        await self._edits.cancel()

    async def _add(self, part: Part, longest: float) -> int:
        """Send one more message; again if it is not known to have arrived: better twice than a gap."""
        try:
            return await self._sender.deliver(self._place, part, longest=longest)
        except Unsure:
            return await self._sender.deliver(self._place, part, longest=longest)
        except Barred:
            return await self._sender.deliver(self._place, self._barred(part), longest=longest)

    def _barred(self, part: Part) -> TextMessage:
        """Say in a picture's or a file's place who can change that there is none. Raises Barred."""
        if isinstance(part, TextMessage):
            raise Barred("the bot lacks a right here")
        told = words("telegram.no_media", self._locale)
        return TextMessage(text=joined(told, part.text), rows=part.rows)

    async def leave(self, status: Part) -> None:
        await self._edits.cancel()
        if self._first is not None:  # under way: its number matters
            await asyncio.gather(self._first, return_exceptions=True)
            if not self._first.cancelled() and not self._first.exception():
                self._message = self._first.result()
        try:
            await self._send(status)
        except (Vanished, TooFast, OSError) as error:
            log.info("an answer was left as it stood", extra={"why": type(error).__name__})

    async def _send(self, part: Part) -> None:
        try:
            if self._message:
                await self._sender.change(self._place, self._message, part, media=self._media)
            else:
                put = self._sender.put(self._place, part, self._reply_to)
                self._first = asyncio.ensure_future(put)
                self._message = await asyncio.shield(self._first)
                if self._note is not None and not self._ending:
                    await self._note(self._message, 0)
        except Unsure as error:
            if self._ending:
                raise
            raise ConnectionError("the connection broke") from error
        except Lost:
            self._lost = True
            raise
        self._media |= isinstance(part, Photo)

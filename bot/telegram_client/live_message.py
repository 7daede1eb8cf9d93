"""The message of one answer, from the first sign of it to its end.

LiveMessage grows by edits; its end is an edit too, and so may be tried any number of times.
DraftedMessage, in private chats: the text grows as a draft beside a short message that holds the
button to cancel; the end is a message of its own, and the short one goes. Should it be unknown whether
that message arrived, the short one becomes the answer: an edit can be repeated, a message cannot. After
a restart, a short message that is gone tells that the answer had arrived.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from bot.clients.pacing import TELEGRAM_SECONDS, Coalescer, TooFast, Vanished
from bot.locales import words
from bot.telegram_client.address import Place
from bot.telegram_client.api import Barred, Lost, Unsure
from bot.telegram_client.messages import FLOOD_SECONDS, Sender
from bot.telegram_client.rendering import Part, Photo, Text, TextMessage, joined, plain

BELOW = "↓"  # what a short message that cannot be deleted says when the answer is below it
HELD_SECONDS = 2 * TELEGRAM_SECONDS

log = logging.getLogger(__name__)


class LiveMessage:
    """Grow by edits. `reply_to` is the asker's message; `note` hears which message holds its place."""

    def __init__(
        self,
        sender: Sender,
        place: Place,
        reply_to: int = 0,
        *,
        message: int = 0,
        note: Callable[[int], Awaitable[None]] | None = None,
        locale: str = "en",
    ) -> None:
        self._note = note
        self._sender = sender
        self._place = place
        self._reply_to = reply_to
        self._message = message
        self._locale = locale
        self._media = False
        self._lost = False
        self._first: asyncio.Task[int] | None = None
        self._ending = False
        self._edits = self._coalescer()

    def _coalescer(self) -> Coalescer[Part]:
        return Coalescer(self._sender.pace(self._place), self._send, deadline=FLOOD_SECONDS)

    def show(self, status: TextMessage | Photo, text: Text | None) -> None:
        """Show a line about the answer, or the text that has grown so far.

        Somebody who deletes the message while it grows sees it again when it is done.
        """
        if not self._lost:
            grown = status if text is None else TextMessage(text=text, rows=status.rows)
            self._edits.show(grown)

    async def finish(self, parts: list[Part], longest: float = FLOOD_SECONDS) -> list[int]:
        """Show the whole answer, last of all; the numbers of its messages.

        Raises Unsure when a first message may have arrived (then it may be called again), Vanished, and
        TooFast when Telegram asks for a longer pause before the first.
        """
        first, *rest = parts
        self._ending = True
        try:
            await self._edits.finish(first, longest)
        except Unsure:
            self._edits = self._coalescer()
            raise
        except Lost:
            await self._sender.delete(self._place, self._message)  # it may only be unfit
            self._message = await self._sender.deliver(self._place, first, self._reply_to)
        except Barred:
            await self._put(self._barred(first))
        return [self._message, *[await self._add(part) for part in rest]]

    async def _add(self, part: Part) -> int:
        """Send one more message; again if it is not known to have arrived: better twice than a gap."""
        try:
            return await self._sender.deliver(self._place, part)
        except Unsure:
            return await self._sender.deliver(self._place, part)
        except Barred:
            return await self._sender.deliver(self._place, self._barred(part))

    def _barred(self, part: Part) -> TextMessage:
        """Say in a picture's or a file's place who can change that there is none. Raises Barred."""
        if isinstance(part, TextMessage):
            raise Barred("the bot lacks a right here")
        told = plain(words("telegram.no_media", self._locale))
        return TextMessage(text=joined(told, part.text), rows=part.rows)

    async def _put(self, part: Part) -> None:
        if self._message:
            await self._sender.change(self._place, self._message, part, media=self._media)
        else:
            self._message = await self._sender.deliver(self._place, part, self._reply_to)

    async def leave(self, status: Part) -> None:
        await self._stop()
        try:
            if self._message:
                await self._sender.change(self._place, self._message, status, media=self._media)
            else:
                self._message = await self._sender.put(self._place, status, self._reply_to)
                if self._note is not None:
                    await self._note(self._message)
        except (Vanished, TooFast, OSError) as error:
            log.info("an answer was left as it stood", extra={"why": type(error).__name__})

    async def _stop(self) -> None:
        """Edit no more; wait for a first message under way, so that its number is known."""
        await self._edits.cancel()
        if self._first is not None:
            await asyncio.gather(self._first, return_exceptions=True)
            if not self._first.cancelled() and not self._first.exception():
                self._message = self._first.result()

    async def _send(self, part: Part) -> None:
        try:
            if self._message:
                await self._sender.change(self._place, self._message, part, media=self._media)
            else:
                put = self._sender.put(self._place, part, self._reply_to)
                self._first = asyncio.ensure_future(put)
                self._message = await asyncio.shield(self._first)
                if self._note is not None and not self._ending:
                    await self._note(self._message)
        except Unsure as error:
            if self._ending:
                raise
            raise ConnectionError("the connection broke") from error
        except Lost:
            self._lost = True
            raise
        self._media |= isinstance(part, Photo)


class DraftedMessage(LiveMessage):
    """Grow as a draft. Pictures, and texts whose drafts are refused, grow by edits."""

    def __init__(
        self,
        sender: Sender,
        place: Place,
        reply_to: int = 0,
        *,
        draft: int = 1,
        unsure: bool = False,
        **more: Any,
    ) -> None:
        super().__init__(sender, place, reply_to, **more)
        self._unsure = unsure
        self._draft = draft
        self._drafts = Coalescer(sender.draft_pace(place), self._send_draft)
        self._refused = False

    def show(self, status: TextMessage | Photo, text: Text | None) -> None:
        if text is None or self._refused:
            super().show(status, text)
            return
        super().show(status, None)
        self._drafts.show(text)

    async def finish(self, parts: list[Part], longest: float = FLOOD_SECONDS) -> list[int]:
        """Send the answer, then delete the short message."""
        await self._drafts.cancel()
        if self._media or isinstance(parts[0], Photo):
            return await super().finish(parts, longest)
        await self._stop()
        first, *rest = parts
        if self._unsure and self._message:
            return await self._settle(parts)
        try:
            sent = [await self._sender.deliver(self._place, first, longest=longest)]
        except Unsure:
            if not self._message:
                raise
            return await super().finish(parts, longest)
        sent += [await self._add(part) for part in rest]
        if self._message and not await self._sender.delete(self._place, self._message):
            below = TextMessage(text=plain(BELOW))
            with suppress(Vanished, TooFast, OSError):
                await self._sender.change(self._place, self._message, below)
        return sent

    async def _settle(self, parts: list[Part]) -> list[int]:
        """Deliver what may have arrived before the bot was stopped: then the short message is gone."""
        first, *rest = parts
        try:
            await self._edits.finish(first)
        except Lost:
            return []
        return [self._message, *[await self._add(part) for part in rest]]

    async def leave(self, status: Part) -> None:
        await self._drafts.cancel()
        await super().leave(status)

    async def _send_draft(self, text: Text) -> None:
        if self._sender.pace(self._place).held > HELD_SECONDS:
            return  # Telegram asked for silence in this chat
        try:
            await self._sender.draft(self._place, self._draft, text)
        except TooFast:
            raise
        except Exception:
            self._refused = True
            raise

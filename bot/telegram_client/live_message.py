"""The message of one answer, from the first sign of it to its end.

It grows by edits, and its end is an edit too: a message whose arrival is unknown cannot be sent again,
an edit can be made any number of times.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from bot.clients.pacing import Coalescer, TooFast, Vanished
from bot.locales import words
from bot.telegram_client.address import Place
from bot.telegram_client.api import Barred, Lost, Unsure
from bot.telegram_client.messages import FLOOD_SECONDS, Sender
from bot.telegram_client.rendering import Part, Photo, TextMessage, joined, plain

log = logging.getLogger(__name__)


class LiveMessage:
    """`reply_to` is the asker's message; `note` hears which message holds the answer's place."""

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

    def show(self, part: Part) -> None:
        """Let it be that. Somebody who deletes it while it grows sees it again when it is done."""
        if not self._lost:
            self._edits.show(part)

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
            await self._send(self._barred(first))
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
                    await self._note(self._message)
        except Unsure as error:
            if self._ending:
                raise
            raise ConnectionError("the connection broke") from error
        except Lost:
            self._lost = True
            raise
        self._media |= isinstance(part, Photo)

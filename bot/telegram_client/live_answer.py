"""One answer in a Telegram chat, with signs of life on the way."""

import asyncio
from dataclasses import replace

from telegram.error import TelegramError

from bot.clients.live_answer import Final, LiveAnswer
from bot.clients.pacing import TooFast, Vanished
from bot.locales import words
from bot.service.dispatch_table import Events
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from bot.telegram_client.address import Place, address
from bot.telegram_client.api import Barred, Unsure
from bot.telegram_client.live_message import LiveMessage
from bot.telegram_client.messages import Sender
from bot.telegram_client.rendering import (
    Part,
    TextMessage,
    grown,
    joined,
    parts_of,
    quiet,
    reply_parts,
)
from engine.shutdown import end

ACTION_SECONDS = 4.5  # Telegram shows an action for five
PATIENCE_SECONDS = 60.0  # a longer pause is written down, and outlasts this process


class TelegramAnswer(LiveAnswer):
    """Show one answer in a chat. `reply_to` is the message that asked for it; `message` one of ours
    that holds its place already; `unsure`: it may have arrived before the last restart."""

    line_seconds = 4.0
    passing = (TooFast, TelegramError, OSError)

    def __init__(
        self,
        service: ChatService,
        sender: Sender,
        who: Who,
        place: Place,
        reply_to: int = 0,
        *,
        message: int = 0,
        unsure: bool = False,
    ) -> None:
        super().__init__(service, who)
        self._sender = sender
        self._place = place
        self._marked = unsure and not message
        self.barred = False  # it could not be shown, for want of a right in the chat
        self.sent: list[int] = []  # the numbers of its messages
        self._message = LiveMessage(
            sender, place, reply_to, message=message, note=self._note, locale=who.locale
        )

    async def follow(self, events: Events) -> Reply | None:
        """Show words that come amid an answer in its place; give back those that come first."""
        signs = asyncio.create_task(self._signs())
        try:
            said = await super().follow(events)
        finally:
            await end(signs)
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
        await self.sending()
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
        await self._message.leave(
            TextMessage(text=quiet(words("telegram.restarting", self.who.locale)))
        )

    async def stop(self) -> None:
        """Do nothing: the message itself ends what it shows."""

    async def _note(self, message: int) -> None:
        await self.addressed(address(self._place, message))

    async def _parts(self, final: Final) -> list[Part]:
        name, locale = f"pastiche-{self.draft.job.lower()}", self.who.locale
        about = (await self.footer(final), name, self.registry, locale)
        parts = await asyncio.to_thread(parts_of, self.draft, *about)
        if self._marked and isinstance(parts[0], TextMessage):
            note = quiet(words("telegram.perhaps_again", locale))
            parts[0] = replace(parts[0], text=joined(note, parts[0].text))
        return parts

    async def _signs(self) -> None:
        """Show “typing…” above the chat, again and again while it is being written or drawn."""
        while True:
            await asyncio.sleep(ACTION_SECONDS)
            waiting = self.draft.stage == "waiting"  # a thousand who wait need no thousand signs
            if not waiting and self._sender.pace(self._place).held < ACTION_SECONDS:
                drawing = self.draft.stage == "drawing"
                await self._sender.action(self._place, "upload_photo" if drawing else "typing")

"""Replies in words: what ChatService says at once, refusals, and what only the asker may see."""

import asyncio
import logging

from bot.clients.pacing import TooFast, Vanished
from bot.locales import words
from bot.messages.split import CAPTION_LIMIT, TELEGRAM_LIMIT, split, utf16
from bot.service.repeats import Repeats
from bot.service.request import Reply
from bot.telegram_client.address import Place
from bot.telegram_client.attachments import showable
from bot.telegram_client.messages import Sender
from bot.telegram_client.parts import File, Part, Photo, TextMessage, plain

SAME_SECONDS = 20.0  # the same refusal to the same person is not said again so soon
MOST_REFUSALS = 5_000  # remembered

log = logging.getLogger(__name__)


class Replies:
    """Says things. `name` is the bot's user name."""

    def __init__(self, sender: Sender, name: str) -> None:
        self._sender = sender
        self._name = name
        self._refused = Repeats(MOST_REFUSALS)

    async def say(
        self, said: Reply, place: Place, asker: int, reply_to: int = 0, locale: str = "en"
    ) -> bool:
        """A reply where it was asked for, a private one in the asker's own chat; whether it is shown."""
        if said.private and not place.private:
            return await self._privately(said, place, asker, reply_to, locale)
        return await self._send(said, place, reply_to)

    async def refuse(self, why: str, place: Place, asker: int, reply_to: int = 0) -> None:
        """A refusal, once in a while: somebody who floods is not answered each time."""
        if self._refused.new((asker, why), SAME_SECONDS):
            await self._send(Reply(why), place, reply_to)

    async def _privately(
        self, said: Reply, place: Place, asker: int, reply_to: int, locale: str
    ) -> bool:
        shown = False
        try:
            shown = await self._send(said, Place(chat=asker), 0)
            told = words("telegram.in_private", locale)
        except Vanished:  # a bot may not begin a conversation
            link = f"{self._name}?start={said.start}" if said.start else self._name
            told = words("telegram.open_private", locale, name=link)
        await self._send(Reply(told), place, reply_to)
        return shown

    async def _send(self, said: Reply, place: Place, reply_to: int) -> bool:
        """Whether all of it is there. Raises Vanished."""
        for item in await asyncio.to_thread(items_of, said):
            try:
                await self._sender.deliver(place, item, reply_to)
            except TooFast as error:
                log.warning("a reply came to nothing", extra={"why": str(error)})
                return False
        return True


def items_of(said: Reply) -> list[Part]:
    """The reply as messages; what it asks stands below the last. One picture carries its words."""
    files = [File(data=data, name=name, text=plain("")) for name, data in said.files]
    if said.pictures:
        first, *rest = (showable(picture.data) for picture in said.pictures)
        words = split(said.text, CAPTION_LIMIT, utf16)[:1] or [""]
        shown = Photo(data=first, text=plain(words[0]), rows=said.choices)
        return [shown, *(Photo(data=data, text=plain("")) for data in rest), *files]
    parts = [plain(part) for part in split(said.text, TELEGRAM_LIMIT, utf16)]
    last, rows = len(parts) - 1, said.choices
    return [
        *(TextMessage(text=p, rows=rows if n == last else ()) for n, p in enumerate(parts)),
        *files,
    ]

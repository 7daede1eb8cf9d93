"""From the events of a job to an answer in a chat, with signs of life on the way."""

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

from bot.conversation import Said
from bot.locales import words
from bot.render import Draft, fold
from bot.telegram_client.items import Words, quiet
from bot.telegram_client.place import Place
from bot.telegram_client.rendering import items_of, status_of, text_of
from bot.telegram_client.sender import Sender
from bot.telegram_client.stages import Drafted, Edited, Stage
from engine import Engine
from engine.errors import OurError
from engine.events import Event

ACTION_SECONDS = 4.5  # Telegram shows an action for five

_draft_ids = itertools.count(1)

log = logging.getLogger(__name__)


class Showing:
    """One answer under way in a chat; `reply_to` is the message that asked for it."""

    def __init__(
        self, sender: Sender, core: Engine, place: Place, reply_to: int = 0, locale: str = "en"
    ) -> None:
        self._sender = sender
        self._core = core
        self._place = place
        self._locale = locale
        self.draft = Draft()
        self.stage: Stage = (
            Drafted(sender, place, reply_to, draft=next(_draft_ids))
            if place.private
            else Edited(sender, place, reply_to)
        )

    async def run(self, events: AsyncGenerator[Event | Said]) -> list[int]:
        """Show the events, and deliver the end; the numbers of its messages.

        Raises Vanished when nobody can be told any more, OurError when the engine broke off.
        """
        signs = asyncio.create_task(self._signs())
        try:
            async with aclosing(events):
                async for event in events:
                    if not isinstance(event, Said):
                        self._see(event)
        except asyncio.CancelledError:
            await self.leave()
            raise
        finally:
            signs.cancel()
            await asyncio.gather(signs, return_exceptions=True)
        if self.draft.final is None:
            raise OurError("the events ended before the answer")
        answer = await self._core.answer(self.draft.job)
        return await self.stage.finish(
            items_of(self.draft, answer, self._core.registry, self._locale)
        )

    def _see(self, event: Event) -> None:
        self.draft = fold(self.draft, event)
        if self.draft.final is None:
            status = status_of(self.draft, self._core.registry, self._locale)
            self.stage.show(status, text_of(self.draft))

    async def leave(self) -> None:
        """The bot is being restarted: say so below what there is."""
        told = Words(text=quiet(words("telegram.restarting", self._locale)))
        with suppress(Exception):
            await asyncio.wait_for(self.stage.leave(told), 5)

    async def _signs(self) -> None:
        """“typing…” above the chat."""
        while True:
            if self._sender.pace(self._place).held < ACTION_SECONDS:
                drawing = self.draft.stage == "drawing"
                await self._sender.action(self._place, "upload_photo" if drawing else "typing")
            await asyncio.sleep(ACTION_SECONDS)

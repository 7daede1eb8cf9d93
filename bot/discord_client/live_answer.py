"""One answer on Discord: its draft paced into a message, its end sent in as many as it takes."""

import asyncio
import logging
from dataclasses import replace

from bot.clients.live_answer import LEAVE_SECONDS, Final, LiveAnswer
from bot.clients.pacing import Coalescer, Pace, TooFast
from bot.discord_client import rendering
from bot.discord_client.errors import PASSING, Forbidden, Refused, TooLarge, insist
from bot.discord_client.messages import AnswerMessages
from bot.discord_client.rendering import Part, files_of
from bot.locales import words
from bot.service.request import Who
from bot.service.service import ChatService
from engine.events import Finished

FIRST_SECONDS = 0.5  # an answer that is whole by then needs no sign of life before it

log = logging.getLogger(__name__)


class DiscordAnswer(LiveAnswer):
    passing = (*LiveAnswer.passing, TooFast, *PASSING)

    def __init__(
        self, service: ChatService, messages: AnswerMessages, pace: Pace, who: Who
    ) -> None:
        super().__init__(service, who)
        self.messages = messages
        self._edits = Coalescer[Part](pace, self._show)
        self._first: asyncio.TimerHandle | None = None  # until then, nothing is shown

    def grow(self) -> None:
        """Wait FIRST_SECONDS with the first sign of life."""
        loop = asyncio.get_running_loop()
        if self._first is None:
            self._first = loop.call_later(FIRST_SECONDS, self._grow)
        elif self._first.when() <= loop.time():
            self._grow()

    def _grow(self) -> None:
        self._edits.show(rendering.growing(self.draft, self.registry, self.who.locale))

    async def stop(self) -> None:
        self._forgo_first()
        await self._edits.cancel()

    def _forgo_first(self) -> None:
        if self._first is not None:
            self._first.cancel()

    async def farewell(self) -> None:
        await self.stop()
        if self.messages.address.shown:
            part = Part(text=self._words("restarting"))
            await insist(lambda: self.messages.show(part), LEAVE_SECONDS)

    async def finish(self, final: Final) -> list[str]:
        self._forgo_first()
        footer = await self.footer(final)
        parts = rendering.last_parts(self.draft, footer, self.registry, self.who.locale)
        first, *rest = await self._with_pictures(parts)
        if not rest:
            await self.sending()
        try:
            await self._edits.finish(first)
        except (TooLarge, Forbidden, Refused):
            await self._anew(first)  # what was refused may have been a draft
        for number, part in enumerate(rest, 1):
            if number == len(rest):
                await self.sending()
            await self._add(part, number)
        return self.messages.sent

    async def _show(self, part: Part) -> None:
        before = self.messages.address
        self.messages.job = self.draft.job
        await self.messages.show(part)
        if self.messages.address != before:
            await self.addressed(self.messages.address.written())

    async def _anew(self, part: Part) -> None:
        """Show the part without its files, or as a file, where Discord takes it no other way."""
        try:
            await insist(lambda: self._show(part))
        except (TooLarge, Forbidden) as error:
            if not part.files:
                raise
            reason = self._words("too_large" if isinstance(error, TooLarge) else "no_files")
            told = replace(part, files=(), text=f"{part.text}\n{reason}".strip())
            await insist(lambda: self._show(told))
        except Refused:
            log.exception("a part was refused", extra={"job": self.draft.job})
            await insist(lambda: self._show(_plain(part)))

    async def _add(self, part: Part, number: int) -> None:
        """Send one more message, unless an earlier run did, and note that it stands there."""
        if number <= self.messages.address.parts:
            return
        try:
            await insist(lambda: self.messages.add(part, number))
        except Refused:
            log.exception("a part was refused", extra={"job": self.draft.job})
            await insist(lambda: self.messages.add(_plain(part), number))
        await self.addressed(self.messages.address.written())

    async def _with_pictures(self, parts: list[Part]) -> list[Part]:
        final = self.draft.final
        if not isinstance(final, Finished) or not final.pictures:
            return parts
        limit = self.messages.address.limit
        files = await asyncio.to_thread(files_of, self.draft.job, final.pictures, limit)
        whole = len(files) == len(final.pictures) and all(n.endswith(".png") for n, _ in files)
        last = parts[-1]
        answer = await self.service.context.engine.answer(self.draft.job)
        alt = answer.request.text if answer else ""
        text = last.text if whole else f"{last.text}\n{self._words('smaller')}".strip()
        return [*parts[:-1], replace(last, files=files, text=text, alt=alt)]

    def _words(self, name: str) -> str:
        return rendering.small(words(f"discord.{name}", self.who.locale))


def _plain(part: Part) -> Part:
    return Part(text="", files=(("answer.txt", part.text.encode()), *part.files))

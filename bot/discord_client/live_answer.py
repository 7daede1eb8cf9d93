"""One answer on Discord: its draft paced into a message, its end sent in as many as it takes."""

import asyncio
import logging
from dataclasses import replace

from bot.clients.live_answer import LEAVE_SECONDS, Final, LiveAnswer
from bot.clients.pacing import Coalescer, Pace, TooFast
from bot.discord_client import rendering
from bot.discord_client.errors import PASSING, Forbidden, Refused, TooLarge, insist
from bot.discord_client.messages import AnswerMessages, Part
from bot.discord_client.pictures import files_of
from bot.locales import words
from bot.service.request import Who
from bot.service.service import ChatService
from engine.events import Finished

FIRST_SECONDS = 0.5  # an answer that is whole by then needs no sign of life before it

log = logging.getLogger(__name__)


class DiscordAnswer(LiveAnswer):
    """Show one answer in `post`."""

    passing = (TooFast, *PASSING)

    def __init__(self, talk: ChatService, post: AnswerMessages, pace: Pace, who: Who) -> None:
        super().__init__(talk, who)
        self.post = post
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
        self._edits.show(rendering.growing(self.draft, self.talk.context.registry, self.who.locale))

    async def stop(self) -> None:
        """Show nothing more."""
        if self._first is not None:
            self._first.cancel()
        await self._edits.cancel()

    async def farewell(self) -> None:
        """Put it where the answer stands, if it does."""
        await self.stop()
        if self.post.address.shown:
            page = Part(text=self._words("restarting"))
            await insist(lambda: self.post.show(page), LEAVE_SECONDS)

    async def finish(self, final: Final) -> list[str]:
        """Edit the first message, then send the others."""
        if self._first is not None:
            self._first.cancel()
        footer = await self.footer(final)
        pages = rendering.last_pages(
            self.draft, footer, self.talk.context.registry, self.who.locale
        )
        first, *rest = await self._with_pictures(pages)
        if not rest:
            await self.sending()
        try:
            await self._edits.finish(first)
        except (TooLarge, Forbidden, Refused):
            await self._anew(first)  # what was refused may have been a draft
        for part, page in enumerate(rest, 1):
            if part == len(rest):
                await self.sending()
            await self._add(page, part)
        return self.post.messages

    async def _show(self, page: Part) -> None:
        before = self.post.address
        self.post.job = self.draft.job
        await self.post.show(page)
        if self.post.address != before:
            await self.addressed(self.post.address.written())

    async def _anew(self, page: Part) -> None:
        """Show the page without its files, or as a file, where Discord takes it no other way."""
        try:
            await insist(lambda: self._show(page))
        except (TooLarge, Forbidden) as error:
            if not page.files:
                raise
            reason = self._words("too_large" if isinstance(error, TooLarge) else "no_files")
            told = replace(page, files=(), text=f"{page.text}\n{reason}".strip())
            await insist(lambda: self._show(told))
        except Refused:
            log.exception("a page was refused", extra={"job": self.draft.job})
            await insist(lambda: self._show(_plain(page)))

    async def _add(self, page: Part, part: int) -> None:
        """Send one more message, unless an earlier run did, and note that it stands there."""
        if part <= self.post.address.parts:
            return
        try:
            await insist(lambda: self.post.add(page, part))
        except Refused:
            log.exception("a page was refused", extra={"job": self.draft.job})
            await insist(lambda: self.post.add(_plain(page), part))
        await self.addressed(self.post.address.written())

    async def _with_pictures(self, pages: list[Part]) -> list[Part]:
        final = self.draft.final
        if not isinstance(final, Finished) or not final.pictures:
            return pages
        limit = self.post.address.limit
        files = await asyncio.to_thread(files_of, self.draft.job, final.pictures, limit)
        whole = len(files) == len(final.pictures) and all(n.endswith(".png") for n, _ in files)
        last = pages[-1]
        answer = await self.talk.context.engine.answer(self.draft.job)
        alt = answer.request.text if answer else ""
        text = last.text if whole else f"{last.text}\n{self._words('smaller')}".strip()
        return [*pages[:-1], replace(last, files=files, text=text, alt=alt)]

    def _words(self, name: str) -> str:
        return rendering.small(words(f"discord.{name}", self.who.locale))


def _plain(page: Part) -> Part:
    """Put the words into a form that cannot be malformed: a file."""
    return Part(text="", files=(("answer.txt", page.text.encode()), *page.files))

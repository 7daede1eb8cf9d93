"""One answer on its way: events folded into a draft, the draft paced into a post, the end delivered."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from bot.clients.pacing import Coalescer, Pace, TooFast, Vanished
from bot.discord_client import rendering
from bot.discord_client.errors import PASSING, Forbidden, Refused, TooLarge, insist, why
from bot.discord_client.messages import AnswerMessages, Part
from bot.discord_client.pictures import files_of
from bot.locales import words
from bot.messages.draft import Draft, fold
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from engine.errors import OurError
from engine.events import Event, Finished, Queued, is_final

PER_PLACE_SECONDS = 0.1  # a place in line is told so much less often for each answer before it
FIRST_SECONDS = 0.5  # an answer that is whole by then needs no sign of life before it
LEAVE_SECONDS = 5.0  # how long a word of farewell is tried

log = logging.getLogger(__name__)


class LiveAnswer:
    """One answer in one post, from its first event to its last."""

    def __init__(self, talk: ChatService, post: AnswerMessages, pace: Pace, who: Who) -> None:
        self.post = post
        self.draft = Draft()
        self._talk = talk
        self._who = who
        self._clock = pace.clock
        self._edits = Coalescer[Part](pace, self._show)
        self._quiet_until = float("-inf")
        self._left = False
        self._first: asyncio.TimerHandle | None = None  # until then, nothing is shown

    async def follow(self, events: AsyncGenerator[Event | Reply]) -> Reply | None:
        """Show the answer as it grows, then whole; a reply in words is the caller's to show.

        Raises what `events` raises. An answer that cannot be shown stays owed, or is given up.
        """
        try:
            async with aclosing(events):
                async for event in events:
                    if isinstance(event, Reply):
                        return event
                    if self._left:
                        return None
                    self._see(event)
            if self.draft.final is None:
                raise OurError("the events ended before the answer")
            await self._close()
        finally:
            self._stop_waiting()
            await self._edits.cancel()
        return None

    async def leave(self) -> None:
        """The bot is being restarted: say so in the answer's place. It stays owed."""
        self._left = True
        self._stop_waiting()
        await self._edits.cancel()
        if self.post.address.shown:
            page = Part(text=self._words("restarting"))
            await insist(lambda: self.post.show(page), LEAVE_SECONDS)

    async def _show(self, page: Part) -> None:
        """Show it; where it stands is written down when that changed, for a restart."""
        before = self.post.address
        await self.post.show(page)
        if self.post.address != before:
            await self._talk.addressed(self.draft.job, self.post.address.written())

    def _see(self, event: Event) -> None:
        # An answer that was ready before we asked begins with its end.
        self.draft = replace(fold(self.draft, event), job=event.job)
        self.post.job = event.job
        if is_final(event):
            return
        if isinstance(event, Queued):
            if self._clock.now() < self._quiet_until:
                return
            self._quiet_until = self._clock.now() + event.position * PER_PLACE_SECONDS
        if self._first is None:
            loop = asyncio.get_running_loop()
            self._first = loop.call_later(FIRST_SECONDS, self._grow)
        elif self._first.when() <= asyncio.get_running_loop().time():
            self._grow()

    def _grow(self) -> None:
        """Show what there is by now."""
        if not self._left:
            self._edits.show(rendering.growing(self.draft, self._talk.registry, self._who.locale))

    def _stop_waiting(self) -> None:
        """No first sign of life after this."""
        if self._first is not None:
            self._first.cancel()

    async def _close(self) -> None:
        """The whole answer, and the record of its delivery."""
        self._stop_waiting()
        final, job = self.draft.final, self.draft.job
        footer = await self._talk.footer(final, self._who) if isinstance(final, Finished) else ""
        pages = rendering.last_pages(self.draft, footer, self._talk.registry, self._who.locale)
        first, *rest = await self._with_pictures(pages)
        try:
            if rest:
                await self._finish(first)
                for part, page in enumerate(rest[:-1], 1):
                    await self._add(page, part)
                await self._talk.sending(job)
                await self._add(rest[-1], len(rest))
            else:
                await self._talk.sending(job)
                await self._finish(first)
        except Vanished as error:
            log.info("an answer has nowhere to go", extra=self._facts(error))
            await self._talk.lost(job, str(error))
        except (TooFast, *PASSING) as error:
            log.warning("an answer is still owed", extra=self._facts(error))
            seconds = error.seconds if isinstance(error, TooFast) else 0.0
            await self._talk.undelivered(job, seconds)
        else:
            await self._talk.delivered(job, self.post.messages)

    def _facts(self, error: Exception) -> dict[str, str]:
        return {"job": self.draft.job, "why": why(error)}

    async def _finish(self, page: Part) -> None:
        try:
            await self._edits.finish(page)
        except (TooLarge, Forbidden, Refused):
            await self._anew(page)  # what was refused may have been a draft

    async def _anew(self, page: Part) -> None:
        """The page once more; without its files, or as a file, where Discord takes it no other way."""
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
            await insist(lambda: self._show(plain(page)))

    async def _add(self, page: Part, part: int) -> None:
        """One more message, unless an earlier run sent it; that it stands there is written down."""
        if part <= self.post.address.parts:
            return
        try:
            await insist(lambda: self.post.add(page, part))
        except Refused:
            log.exception("a page was refused", extra={"job": self.draft.job})
            await insist(lambda: self.post.add(plain(page), part))
        await self._talk.addressed(self.draft.job, self.post.address.written())

    async def _with_pictures(self, pages: list[Part]) -> list[Part]:
        final = self.draft.final
        if not isinstance(final, Finished) or not final.pictures:
            return pages
        limit = self.post.address.limit
        files = await asyncio.to_thread(files_of, self.draft.job, final.pictures, limit)
        whole = len(files) == len(final.pictures) and all(n.endswith(".png") for n, _ in files)
        last = pages[-1]
        answer = await self._talk.core.answer(self.draft.job)
        alt = answer.request.text if answer else ""
        text = last.text if whole else f"{last.text}\n{self._words('smaller')}".strip()
        return [*pages[:-1], replace(last, files=files, text=text, alt=alt)]

    def _words(self, name: str) -> str:
        return rendering.small(words(f"discord.{name}", self._who.locale))


def plain(page: Part) -> Part:
    """The same words in a form that cannot be malformed: a file."""
    return Part(text="", files=(("answer.txt", page.text.encode()), *page.files))

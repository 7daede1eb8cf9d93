"""Moderation around a job's events: what may not be shown is stopped, the rest is made harmless."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from bot.conversation import Said, Who
from bot.defang import defang
from bot.locales import words
from engine import Engine
from engine.desk.desk import Desk
from engine.errors import AskerError
from engine.events import Cancelled, Event, Failed, Finished, Image, Text
from engine.moderation import Action, Content, Moderator, Stage, Verdict

GROWTH = 160  # characters of a growing text between two checks


class RefusedError(AskerError):
    """A request that moderation stops; the words are kind and say what else there is."""


class Guard:
    """One moderator, its verdicts on record."""

    def __init__(self, moderator: Moderator, desk: Desk, core: Engine) -> None:
        self._moderator = moderator
        self._desk = desk
        self._core = core

    async def check(
        self, stage: Stage, content: Content, who: Who, job: str | None = None, *, keep: bool = True
    ) -> Verdict:
        """The verdict; `keep` puts it on record."""
        start = time.perf_counter()
        verdict = await self._moderator.check(stage, content)
        milliseconds = 1000 * (time.perf_counter() - start)
        if keep or verdict.stops:
            await self._desk.opinions.judged(
                who.platform, who.asker, job, stage, verdict, milliseconds
            )
        return verdict

    async def admit(self, stage: Stage, content: Content, who: Who, *, keep: bool = True) -> None:
        """Raises RefusedError for what may not go on; a refused request has no job."""
        verdict = await self.check(stage, content, who, keep=keep)
        if verdict.stops:
            raise RefusedError(_words(verdict, who.locale))

    async def watch(
        self, events: AsyncGenerator[Event], who: Who, content: Content, *, keep: bool = True
    ) -> AsyncGenerator[Event | Said]:
        """The events as they may be shown. A stop cancels the job and ends with a Said."""
        checked = 0
        async with aclosing(events):
            async for event in events:
                verdict = Verdict()
                match event:
                    case Text(text=text) if len(text) >= checked + GROWTH:
                        checked = len(text)
                        verdict = await self._text(text, who, content, event, keep=False)
                    case Image(preview=preview) if preview:
                        verdict = await self._picture(preview, who, content, event, keep=False)
                    case Finished(text=text) | Cancelled(text=text):
                        verdict = await self._final(event, text, who, content, keep=keep)
                if verdict.stops:
                    await self._stop(event)
                    yield Said(_output_words(verdict, who.locale))
                    return
                yield harmless(event)

    async def _text(
        self, text: str, who: Who, content: Content, event: Event, *, keep: bool
    ) -> Verdict:
        written = Content(text=text, command=content.command, medium="text")
        return await self.check(Stage.OUTPUT_TEXT, written, who, event.job, keep=keep)

    async def _picture(
        self, data: bytes, who: Who, content: Content, event: Event, *, keep: bool
    ) -> Verdict:
        drawn = Content(image=data, command=content.command, medium="image")
        return await self.check(Stage.OUTPUT_IMAGE, drawn, who, event.job, keep=keep)

    async def _final(
        self, event: Finished | Cancelled, text: str, who: Who, content: Content, *, keep: bool
    ) -> Verdict:
        if text:
            verdict = await self._text(text, who, content, event, keep=keep)
            if verdict.stops:
                return verdict
        for picture in event.pictures if isinstance(event, Finished) else ():
            verdict = await self._picture(picture.data, who, content, event, keep=keep)
            if verdict.stops:
                return verdict
        return Verdict()

    async def _stop(self, event: Event) -> None:
        """End the job if it runs, and settle its debt; what a hold keeps back stays for an operator."""
        if not isinstance(event, Finished | Cancelled | Failed):
            await self._core.cancel(event.job)
        await self._core.delivered(event.job)


def harmless(event: Event) -> Event:
    """The event with its words defanged."""
    match event:
        case Text(text=text) | Finished(text=text) | Cancelled(text=text):
            return replace(event, text=defang(text))
        case _:
            return event


def _words(verdict: Verdict, locale: str) -> str:
    for reason in verdict.reasons:
        try:
            return words(f"moderation.{reason}", locale)
        except KeyError:
            continue
    return words("moderation.unchecked", locale)


def _output_words(verdict: Verdict, locale: str) -> str:
    if verdict.action is Action.HOLD:
        return _words(verdict, locale)
    return words("moderation.output", locale)

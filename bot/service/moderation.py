"""Moderation around a job's events: what may not be shown is stopped, the rest is made harmless."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace

from bot.locales import words
from bot.messages.escape import defang
from bot.service.request import Reply, Who
from engine import Engine
from engine.chat.feedback import Judged
from engine.errors import AskerError
from engine.events import Cancelled, Event, Failed, Finished, Image, Text, is_final
from engine.moderation import Action, Content, Moderator, Stage, Verdict
from engine.moderation.normalise import OVERLAP
from engine.process.composition import Desk

GROWTH = 160  # characters of a growing text between two checks


class RefusedError(AskerError):
    """A request that moderation stops; the words are kind and say what else there is."""

    def __init__(self, message: str, judged: Sequence[Judged] = ()) -> None:
        super().__init__(message)
        self.judged = tuple(judged)


class Moderation:
    """One moderator, its verdicts on record."""

    def __init__(
        self, moderator: Moderator, desk: Desk, core: Engine, growth: int = GROWTH
    ) -> None:
        self._moderator = moderator
        self._desk = desk
        self._core = core
        self._growth = growth

    async def check(self, stage: Stage, content: Content) -> Judged:
        """The verdict, and how long it took."""
        start = time.perf_counter()
        verdict = await self._moderator.check(stage, content)
        milliseconds = 1000 * (time.perf_counter() - start)
        return Judged(stage=stage, verdict=verdict, milliseconds=milliseconds)

    async def admit(
        self, contents: Sequence[tuple[Stage, Content]], who: Who, job: str | None
    ) -> None:
        """Raises RefusedError at the first that may not go on; the request then has no job.

        Without a job (a private request) only a refusal is noted.
        """
        judged: list[Judged] = []
        for stage, content in contents:
            judged.append(await self.check(stage, content))
            if judged[-1].verdict.stops:
                await self._desk.judged(who.platform, who.asker, None, judged)
                raise RefusedError(_words(judged[-1].verdict, who.locale), judged)
        if job is not None:
            await self._desk.judged(who.platform, who.asker, job, judged)

    async def watch(
        self, events: AsyncGenerator[Event], who: Who, content: Content, *, keep: bool = True
    ) -> AsyncGenerator[Event | Reply]:
        """The events as they may be shown. A stop cancels the job and ends with a Said."""
        checked = 0
        async with aclosing(events):
            async for event in events:
                judged: list[Judged] = []
                match event:
                    case Text(text=text) if len(text) >= checked + self._growth:
                        grown = text[max(0, checked - OVERLAP) :]
                        checked = len(text)
                        judged = [await self._text(grown, content)]
                    case Image(preview=preview) if preview:
                        judged = [await self._picture(preview, content)]
                    case Finished(text=text) | Cancelled(text=text):
                        judged = await self._final(event, text, content)
                stops = [one.verdict for one in judged if one.verdict.stops]
                if stops or (keep and is_final(event)):
                    await self._desk.judged(who.platform, who.asker, event.job, judged)
                if stops:
                    await self._stop(event)
                    yield Reply(_output_words(stops[0], who.locale))
                    return
                yield harmless(event)

    async def _text(self, text: str, content: Content) -> Judged:
        written = replace(content, text=text, medium="text", asked=content.text)
        return await self.check(Stage.OUTPUT_TEXT, written)

    async def _picture(self, data: bytes, content: Content) -> Judged:
        drawn = replace(content, text="", image=data, medium="image", asked=content.text)
        return await self.check(Stage.OUTPUT_IMAGE, drawn)

    async def _final(
        self, event: Finished | Cancelled, text: str, content: Content
    ) -> list[Judged]:
        """Verdicts up to the first that stops."""
        judged = [await self._text(text, content)] if text else []
        for picture in event.pictures if isinstance(event, Finished) else ():
            if judged and judged[-1].verdict.stops:
                break
            judged.append(await self._picture(picture.data, content))
        return judged

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

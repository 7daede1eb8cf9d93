"""Moderation around a job's events: what may not be shown is stopped, the rest is made harmless."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from bot.locales import words
from bot.messages.escape import defang
from bot.service.request import Reply, Who
from engine.errors import AskerError
from engine.events import Cancelled, Event, Failed, Finished, Image, Started, Text, is_final
from engine.moderation import Action, Content, Judged, Moderator, Stage, Verdict
from engine.moderation.normalise import OVERLAP

if TYPE_CHECKING:
    from engine import Engine
    from engine.process.services import Services

GROWTH = 160  # characters of a growing text between two checks


class RefusedError(AskerError):
    def __init__(self, message: str, judged: Sequence[Judged] = ()) -> None:
        super().__init__(message)
        self.judged = tuple(judged)


class Moderation:
    def __init__(
        self, moderator: Moderator, services: "Services", engine: "Engine", growth: int = GROWTH
    ) -> None:
        self._moderator = moderator
        self.services = services
        self._engine = engine
        self.growth = growth

    async def check(self, stage: Stage, content: Content) -> Judged:
        start = time.perf_counter()
        verdict = await self._moderator.check(stage, content)
        milliseconds = 1000 * (time.perf_counter() - start)
        return Judged(stage=stage, verdict=verdict, milliseconds=milliseconds)

    async def admit(
        self, contents: Sequence[tuple[Stage, Content]], who: Who, job: str | None
    ) -> None:
        """Judge until one stops: then note it and raise RefusedError, and there will be no job.

        Without a job (a private request) nothing else is noted.
        """
        judged: list[Judged] = []
        for stage, content in contents:
            judged.append(await self.check(stage, content))
            if judged[-1].verdict.stops:
                await self.services.feedback.judged(*who.account, None, judged)
                raise RefusedError(_words(judged[-1].verdict, who.locale), judged)
        if job is not None:
            await self.services.feedback.judged(*who.account, job, judged)

    async def stop(self, event: Event) -> None:
        """End the job if it runs, and settle its debt; what a hold keeps back stays for an operator."""
        if not isinstance(event, Finished | Cancelled | Failed):
            await self._engine.cancel(event.job)
        await self._engine.delivered(event.job)


class Screening:
    """Moderate one answer's events, in their order."""

    def __init__(self, guard: Moderation, who: Who, content: Content, *, keep: bool = True) -> None:
        self._guard = guard
        self._who = who
        self._content = content
        self._keep = keep
        self._checked = 0

    async def shown(self, event: Event) -> Event | Reply:
        """Give the event as it may be shown; or stop its job, and give words in its place."""
        judged: list[Judged] = []
        match event:
            case Started():  # perhaps anew
                self._checked = 0
            case Text(text=text) if len(text) >= self._checked + self._guard.growth:
                grown = text[max(0, self._checked - OVERLAP) :]
                self._checked = len(text)
                judged = [await self._judged(grown)]
            case Image(preview=preview) if preview:
                judged = [await self._judged(image=preview)]
            case Finished(text=text) | Cancelled(text=text):
                judged = await self._final(event, text)
        stops = [one.verdict for one in judged if one.verdict.stops]
        if stops or (self._keep and is_final(event)):
            await self._guard.services.feedback.judged(*self._who.account, event.job, judged)
        if not stops:
            return harmless(event)
        await self._guard.stop(event)
        held, locale = stops[0].action is Action.HOLD, self._who.locale
        return Reply(_words(stops[0], locale) if held else words("moderation.output", locale))

    async def _judged(self, text: str = "", image: bytes = b"") -> Judged:
        medium, stage = ("image", Stage.OUTPUT_IMAGE) if image else ("text", Stage.OUTPUT_TEXT)
        asked = self._content.text
        made = replace(self._content, text=text, image=image, medium=medium, asked=asked)
        return await self._guard.check(stage, made)

    async def _final(self, event: Finished | Cancelled, text: str) -> list[Judged]:
        judged = [await self._judged(text)] if text else []
        for picture in event.pictures if isinstance(event, Finished) else ():
            if judged and judged[-1].verdict.stops:
                break
            judged.append(await self._judged(image=picture.data))
        return judged


def harmless(event: Event) -> Event:
    if isinstance(event, Text | Finished | Cancelled):
        return replace(event, text=defang(event.text))
    return event


def _words(verdict: Verdict, locale: str) -> str:
    for reason in verdict.reasons:
        try:
            return words(f"moderation.{reason}", locale)
        except KeyError:
            continue
    return words("moderation.unchecked", locale)

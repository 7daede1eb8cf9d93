"""Several moderators as one: the worst verdict counts, and a hard rule that breaks down blocks."""

import asyncio
import logging

from engine.moderation import Action, Content, Moderator, Stage, Verdict, worst
from engine.moderation.images import ImageCheck, load_classifier
from engine.moderation.living_people import LivingPeople
from engine.moderation.rules import HardRules, WordList

UNCHECKED = "unchecked"

log = logging.getLogger(__name__)


class Chain:
    """`strict` ones fail closed, `lenient` ones fail open with a flag."""

    def __init__(self, strict: tuple[Moderator, ...], lenient: tuple[Moderator, ...] = ()) -> None:
        self._strict = strict
        self._lenient = lenient

    async def check(self, stage: Stage, content: Content) -> Verdict:
        verdicts = await asyncio.gather(
            *(_safe(link, stage, content, Action.BLOCK) for link in self._strict),
            *(_safe(link, stage, content, Action.FLAG) for link in self._lenient),
        )
        return worst(verdicts)


async def _safe(link: Moderator, stage: Stage, content: Content, otherwise: Action) -> Verdict:
    try:
        return await link.check(stage, content)
    except Exception:
        log.exception("a check broke down", extra={"check": type(link).__name__})
        return Verdict(action=otherwise, reasons={UNCHECKED: 1.0}, provider=type(link).__name__)


def usual(image_check: str = "") -> Chain:
    """Make what every installation has, with the operator's picture check if one is named."""
    pictures = (ImageCheck(load_classifier(image_check)),) if image_check else ()
    return Chain((HardRules(), LivingPeople(), *pictures), (WordList(),))

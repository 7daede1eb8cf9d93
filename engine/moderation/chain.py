"""Several moderators as one: the worst verdict counts, and a hard rule that breaks down blocks."""

import asyncio
import logging

from engine.moderation import Action, Content, Moderator, Stage, Verdict, worst
from engine.moderation.images import ImageCheck, load_classifier
from engine.moderation.living_people import LivingPeople
from engine.moderation.rules import HardRules

UNCHECKED = "unchecked"

log = logging.getLogger(__name__)


class Chain:
    def __init__(self, *links: Moderator) -> None:
        self._links = links

    async def check(self, stage: Stage, content: Content) -> Verdict:
        return worst(await asyncio.gather(*(_safe(link, stage, content) for link in self._links)))


async def _safe(link: Moderator, stage: Stage, content: Content) -> Verdict:
    try:
        return await link.check(stage, content)
    except Exception:
        log.exception("a check broke down", extra={"check": type(link).__name__})
        return Verdict(action=Action.BLOCK, reasons={UNCHECKED: 1.0}, provider=type(link).__name__)


def usual(image_check: str = "") -> Chain:
    """Make what every installation has, with the operator's picture check if one is named."""
    pictures = (ImageCheck(load_classifier(image_check)),) if image_check else ()
    return Chain(HardRules(), LivingPeople(), *pictures)

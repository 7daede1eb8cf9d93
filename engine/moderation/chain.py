"""Several moderators as one: the worst verdict counts, and a hard rule that breaks down blocks.

A picture is checked by whatever classifier an operator names; no answer from it is a no.
"""

import asyncio
import importlib
import logging
from collections.abc import Callable
from dataclasses import dataclass

from engine.errors import SetupError
from engine.moderation import Action, Content, Moderator, Stage, Verdict, worst
from engine.moderation.living_people import LivingPeople
from engine.moderation.rules import HardRules

Classifier = Callable[[bytes], float]  # PNG bytes -> how surely unfit for all eyes, 0 to 1

UNFIT, UNSEEN, UNCHECKED = "unfit_picture", "unchecked_picture", "unchecked"

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


@dataclass(frozen=True, slots=True)
class ImageCheck:
    """Holds a picture that the classifier finds unfit, cannot read, or does not judge in time."""

    classify: Classifier
    threshold: float = 0.5
    seconds: float = 20.0

    async def check(self, stage: Stage, content: Content) -> Verdict:
        if stage is not Stage.OUTPUT_IMAGE:
            return Verdict(provider="image")
        try:
            async with asyncio.timeout(self.seconds):
                score = float(await asyncio.to_thread(self.classify, content.image))
        except Exception as error:  # noqa: BLE001 - any fault means: not checked
            log.error("a picture was not checked", extra={"why": type(error).__name__})
            return Verdict(action=Action.HOLD, reasons={UNSEEN: 1.0}, provider="image")
        if not 0 <= score < self.threshold:  # a NaN is held too
            return Verdict(action=Action.HOLD, reasons={UNFIT: score}, provider="image")
        return Verdict(provider="image")


def load_classifier(name: str) -> Classifier:
    """Import the function that `package.module:function` names. Raises SetupError."""
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise SetupError(
            f"The picture check {name!r} cannot be loaded ({error}). PASTICHE_IMAGE_CHECK takes "
            "package.module:function, a function from PNG bytes to a number between 0 and 1."
        ) from error
    if not callable(found):
        raise SetupError(f"The picture check {name!r} is no function.")
    return found  # type: ignore[no-any-return]

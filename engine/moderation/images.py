"""A picture's own check: whatever classifier an operator names; no answer from it is a no."""

import asyncio
import importlib
import logging
from collections.abc import Callable

from engine.errors import SetupError
from engine.moderation import Action, Content, Stage, Verdict

Classifier = Callable[[bytes], float]  # PNG bytes -> how surely unfit for all eyes, 0 to 1

THRESHOLD = 0.5
SECONDS = 20.0
UNFIT, UNCHECKED = "unfit_picture", "unchecked_picture"

log = logging.getLogger(__name__)


class ImageCheck:
    """Holds a picture that the classifier finds unfit, cannot read, or does not judge in time."""

    def __init__(
        self, classify: Classifier, *, threshold: float = THRESHOLD, seconds: float = SECONDS
    ) -> None:
        self._classify = classify
        self._threshold = threshold
        self._seconds = seconds

    async def check(self, stage: Stage, content: Content) -> Verdict:
        if stage is not Stage.OUTPUT_IMAGE:
            return Verdict(provider="image")
        try:
            async with asyncio.timeout(self._seconds):
                score = float(await asyncio.to_thread(self._classify, content.image))
        except Exception as error:  # noqa: BLE001 - any fault means: not checked
            log.error("a picture was not checked", extra={"why": type(error).__name__})
            return Verdict(action=Action.HOLD, reasons={UNCHECKED: 1.0}, provider="image")
        if not 0 <= score < self._threshold:  # a NaN is held too
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

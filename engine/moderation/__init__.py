"""What may be asked and shown. The rules' limits are theirs: they read words, not intentions."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Protocol


class Stage(StrEnum):
    INPUT = "input"
    PROMPT = "prompt"
    OUTPUT_TEXT = "output_text"
    OUTPUT_IMAGE = "output_image"


class Action(StrEnum):
    """What a verdict asks for, mildest first. `hold` keeps an answer back until an operator looked."""

    ALLOW = "allow"
    FLAG = "flag"
    HOLD = "hold"
    BLOCK = "block"


_ORDER = tuple(Action)
NEVER = frozenset({"self_harm", "self_harm_intent"})  # kept with nobody
AT_ONCE = 500  # characters of any kind are judged in under 5 ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What is judged: text, or a picture's PNG bytes; `asked` is what an output was asked for with."""

    text: str = ""
    image: bytes = b""
    command: str = ""
    medium: str = "text"
    asked: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`reasons` maps a category to how sure it is (0 to 1); the client has words for each."""

    action: Action = Action.ALLOW
    reasons: dict[str, float] = field(default_factory=dict)
    provider: str = "rules"
    version: str = "1"

    @property
    def stops(self) -> bool:
        return self.action in (Action.HOLD, Action.BLOCK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    stage: Stage
    verdict: Verdict
    milliseconds: float


class Moderator(Protocol):
    """Checks content. Real ones: HardRules, LivingPeople, ImageCheck, the Chain of them."""

    async def check(self, stage: Stage, content: Content) -> Verdict: ...


class TextCheck:
    """A moderator that reads: a long text is judged in a thread, so that the event loop goes on."""

    async def check(self, stage: Stage, content: Content) -> Verdict:
        if len(content.text) + len(content.asked) <= AT_ONCE:
            return self.judge(stage, content)
        return await asyncio.to_thread(self.judge, stage, content)

    def judge(self, stage: Stage, content: Content) -> Verdict:
        raise NotImplementedError


def worst(verdicts: list[Verdict]) -> Verdict:
    """Take the strictest action, its reasons before everybody else's."""
    first = max(verdicts, key=lambda verdict: _ORDER.index(verdict.action))
    others = {n: score for verdict in reversed(verdicts) for n, score in verdict.reasons.items()}
    return replace(first, reasons=first.reasons | others | first.reasons)


def verdict_row(judged: Judged) -> dict[str, Any]:
    return {
        "stage": judged.stage.value,
        "action": judged.verdict.action.value,
        "reasons": judged.verdict.reasons,
        "provider": judged.verdict.provider,
        "version": judged.verdict.version,
        "milliseconds": judged.milliseconds,
    }


def unspoken(judged: Sequence[dict[str, Any]]) -> bool:
    """Tell whether these are of a moment of which nothing is kept with a person, in no table."""
    return any(NEVER & one["reasons"].keys() for one in judged)

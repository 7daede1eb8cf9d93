"""Verdicts as they are kept, and which of them are not."""

from collections.abc import Sequence
from typing import Any

from engine.moderation import Judged

NEVER = frozenset({"self_harm", "self_harm_intent"})


def verdict_row(judged: Judged) -> dict[str, Any]:
    """Give a verdict's columns, but for whom it is about and when."""
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

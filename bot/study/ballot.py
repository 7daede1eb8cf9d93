"""The message of a pair: both answers, without their writers' names, and the vote below."""

import asyncio
from typing import Any

from bot.locales import words
from bot.messages.buttons import Rows, Verb, button
from bot.messages.draft import AI_LINE
from bot.service.request import Reply
from bot.study.blinding import fitted, side_by_side
from bot.study.pair import PAIR, Pair
from engine.events import Picture
from engine.process.composition import Desk

CHOICES = ("a", "b", "tie", "bad")
REASONS = ("style", "story", "language", "surprise", "other")


async def shown(desk: Desk, pair: Pair) -> Reply:
    """Both in one message, with the vote below."""
    text, visible = message(pair, words("compare.ask", pair.who.locale))
    if pair.kept and desk.lab is not None:
        jobs = [side.job for side in pair.sides]
        await desk.lab.exposures.compose(pair.id, pair.facts, jobs, visible)
    pictures: tuple[Picture, ...] = ()
    left, right = (side.picture for side in pair.sides)
    if left is not None and right is not None:
        pictures = (await asyncio.to_thread(side_by_side, left, right, pair.id),)
    return Reply(
        text, rows=vote_rows(pair), pictures=pictures, literal=True, receipt=f"{PAIR}{pair.id}"
    )


def message(
    pair: Pair, head: str, labels: tuple[str, str] = ("A", "B"), tail: str = ""
) -> tuple[str, dict[str, Any]]:
    """The message's words, and in what form they can be seen."""
    if pair.picture:
        key = "compare.pictures" if labels == ("A", "B") else "compare.told_pictures"
        told = words(key, pair.who.locale, a=labels[0], b=labels[1])
        whole = "\n\n".join(part for part in (head, told, tail, AI_LINE) if part)
        return whole, {"form": "picture side by side", "platform": pair.who.platform}
    one, two = (side.text for side in pair.sides)
    notice = f"{tail}\n\n{AI_LINE}" if tail else AI_LINE
    return fitted(head, one, two, labels, notice, pair.who.platform)


def vote_rows(pair: Pair) -> Rows:
    """The choices; with a vote, also the reasons for it and the reveal."""
    locale = pair.who.locale

    def row(verb: Verb, names: tuple[str, ...], chosen: str) -> tuple[Any, ...]:
        return tuple(
            button(verb, pair.id, name, label=_label(f"compare.{name}", locale, name == chosen))
            for name in names
        )

    rows = [row(Verb.VOTE, CHOICES, pair.choice)]
    if pair.choice:
        rows.append(row(Verb.BECAUSE, REASONS, pair.reason))
        show = button(Verb.VOTE, pair.id, "reveal", label=words("compare.reveal", locale))
        rows.append((show,))
    return tuple(rows)


def _label(key: str, locale: str, chosen: bool) -> str:
    return ("✓ " if chosen else "") + words(key, locale)

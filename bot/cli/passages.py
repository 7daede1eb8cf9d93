"""Generated passages for /guess: an expert goes on from plain openings; whole sentences are kept."""

import json
import random
import re
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

from engine import Engine
from engine.engine import events_of
from engine.errors import CommandError
from engine.events import Finished
from engine.plan.cards import Expert
from engine.plan.job import Request
from engine.process.bootstrap import ReconnectingEngine
from engine.settings import Settings
from engine.study.experiments.passages import Item

FEWEST, MOST = 55, 110  # words of a passage, as those of the real ones
LENGTH = 150  # tokens
TRIES = 4  # for each passage
OPENINGS = (
    "The road to the old house went uphill for an hour, and nobody had walked it that winter.",
    "I had not thought of my uncle's papers for many years when the box arrived.",
    "On the third night at sea the lamp in the cabin went out by itself.",
    "There is a door in the cellar of the library which the porter does not open.",
    "My friend the astronomer wrote to me only once in that autumn.",
    "We had been told that the village was empty, and in the morning it was.",
    "The sound came again from below, slow and regular, as it had in my dream.",
    "What the fishermen brought up that day they would not show to the priest.",
    "I came to the town by the last train, with a letter which I could not read.",
    "For some time I believed that the portrait on the stairs had always been turned to the wall.",
    "The doctor kept a diary, and it is from this that I know what happened after the storm.",
    "Nobody remembered who had built the tower or why it had no window to the east.",
    "It was in the oldest part of the churchyard that we first noticed the smell.",
    "Since that evening I have not been able to look at the stars.",
)
_END = re.compile(r"[.!?…][”’\"']?(?=\s|$)")


def sentences(text: str) -> str:
    """Take the first whole sentences that make a passage; empty if too few do, or if they repeat
    themselves.

    >>> sentences("Too short.")
    ''
    """
    kept: list[str] = []
    line, start = " ".join(text.split()), 0
    for end in _END.finditer(line):
        sentence, start = line[start : end.end()], end.end()
        if len(" ".join([*kept, sentence]).split()) > MOST:
            break
        kept.append(sentence.strip())
    words = " ".join(kept).split()
    if len(words) < FEWEST or len({w.lower() for w in words}) < 0.5 * len(words):
        return ""
    return " ".join(kept)


async def passages(settings: Settings, name: str, count: int, seed: int) -> list[Item]:
    """Let an expert write `count` passages. Raises CommandError where it writes none here."""
    async with ReconnectingEngine(settings) as core:
        expert = core.registry.named(name)
        if expert is None or expert.medium != "text":
            names = ", ".join(e.name for e in core.registry.experts if e.medium == "text")
            raise CommandError(f"There is no expert {name!r} of texts; there are {names}.")
        return [item async for item in _written(core, expert, count, seed)]


async def _written(core: Engine, expert: Expert, count: int, seed: int) -> AsyncIterator[Item]:
    """Write one after the other; the same seed gives the same ones of the same model."""
    draw = random.Random(seed)
    seen: set[str] = set()
    for number in range(count * TRIES):
        if len(seen) == count:
            return
        opening = OPENINGS[number % len(OPENINGS)]
        request = Request(
            command=expert.command,
            text=opening,
            style=expert.name,
            length=LENGTH,
            seed=draw.randrange(2**31),
            platform="study",
            asker="items",
            place="items",
            private=True,
        )
        async with aclosing(events_of(core, request)) as events:
            async for event in events:
                if isinstance(event, Finished) and (text := sentences(event.text)):
                    await core.delivered(event.job)
                    if text not in seen:
                        seen.add(text)
                        yield _item(expert, text, event, request.seed)


def _item(expert: Expert, text: str, event: Finished, seed: int | None) -> Item:
    base, adapter = event.base_digest[:23], event.adapter_digest[:23] or "none"
    return Item(
        kind="generated",
        expert=expert.name,
        text=text,
        source=f"written by {expert.title}'s expert (base {base}, adapter {adapter}, seed {seed})",
        licence=f"generated; weights under {expert.rights.licence}"[:300],
    )


def written(items: Iterable[Item]) -> str:
    lines: list[str] = []
    for item in items:
        lines.append("[[item]]")
        fields = item.model_dump().items()
        lines += [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in fields]
        lines.append("")
    return "\n".join(lines)

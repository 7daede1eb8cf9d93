"""Two answers on their way to a vote: what is known of them, and how they come to an end.

Whose consent is live has the pair on record; of the others it is remembered here until it is old.
"""

import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bot.locales import words
from bot.service.request import Who
from engine.errors import AskerError, PasticheError
from engine.events import Picture
from engine.plan.cards import Expert
from engine.plan.job import Request
from engine.study.consent.participants import Person
from engine.study.experiments.experiment import Arm, Experiment
from engine.study.experiments.exposures import OPEN_SECONDS

if TYPE_CHECKING:
    from bot.service.service import ChatService

MOST = 2_000  # pairs remembered


@dataclass(slots=True)
class Side:
    """One of the two. `text` is what is shown of it, scrubbed; `named`: it had named its writer."""

    arm: Arm
    expert: Expert
    job: str
    request: Request
    text: str = ""
    named: bool = False
    picture: Picture | None = None
    adapter: str = ""

    @property
    def facts(self) -> dict[str, Any]:
        """For the record."""
        return {
            "arm": self.arm.name,
            "expert": self.expert.name,
            "plain": self.arm.plain,
            "adapter_digest": self.adapter,
            "named_itself": self.named,
        }


@dataclass(slots=True)
class Pair:
    """Two answers on their way to a vote. `sides` in the order of showing, a then b."""

    id: str
    who: Who
    sides: tuple[Side, Side]
    person: Person | None = None
    experiment: Experiment | None = None
    made: float = field(default_factory=time.monotonic)
    choice: str = ""
    reason: str = ""
    revealed: bool = False
    stopped: bool = False
    written: bool = False

    @property
    def kept(self) -> bool:
        """Whether it is on record."""
        return self.person is not None

    @property
    def picture(self) -> bool:
        """Whether it is of pictures."""
        return self.sides[0].picture is not None

    @property
    def facts(self) -> list[dict[str, Any]]:
        """For the record, in the order of showing."""
        labels = ("a", "b")
        return [{"label": label, **s.facts} for label, s in zip(labels, self.sides, strict=True)]


class Pairs:
    """Those that may still be voted on, of this process."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[str, Pair] = OrderedDict()

    def add(self, pair: Pair) -> None:
        """Remember it, and forget the oldest."""
        self._pairs[pair.id] = pair
        while len(self._pairs) > MOST:
            self._pairs.popitem(last=False)

    def under_way(self, who: Who) -> str:
        """The name of somebody's pair that is being written; empty if there is none."""
        mine = (who.platform, who.asker)
        for pair in reversed(self._pairs.values()):
            if (pair.who.platform, pair.who.asker) == mine and not pair.written:
                return pair.id
        return ""

    def get(self, name: str) -> Pair | None:
        """One that is not too old."""
        pair = self._pairs.get(name)
        if pair is not None and time.monotonic() - pair.made > OPEN_SECONDS:
            del self._pairs[name]
            return None
        return pair


class VoidError(Exception):
    """The pair cannot be judged; `reason` for the record, the words for the asker."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def giveaways(talk: "ChatService", pair: Pair) -> tuple[str, ...]:
    """What would tell who wrote it."""
    extra = pair.experiment.scrub if pair.experiment else ()
    return (*(e.title for e in talk.registry.experts if e.medium == "text"), *extra)


# Ends


async def arrived(talk: "ChatService", name: str) -> None:
    """The pair is on the screen: both answers count as delivered."""
    pair = talk.pairs.get(name)
    if pair is None:
        return
    if pair.kept and talk.desk.lab is not None:
        await talk.desk.lab.exposures.delivered(name)
    for side in pair.sides:
        await talk.delivered(side.job)


async def missed(talk: "ChatService", name: str) -> None:
    """It could not be shown: no exposure."""
    pair = talk.pairs.get(name)
    if pair is not None:
        await void(talk, pair, "undelivered")
        await let_go(talk, pair)


async def stop(talk: "ChatService", name: str, who: Who) -> bool:
    """Cancel both; whether there was anything to stop. Raises AskerError for another's pair."""
    pair = talk.pairs.get(name)
    if pair is None:
        return False
    if (pair.who.platform, pair.who.asker) != (who.platform, who.asker):
        raise AskerError(words("talk.not_yours", who.locale))
    pair.stopped = True
    for side in pair.sides:
        await talk.core.cancel(side.job)
    return not pair.written


async def void(talk: "ChatService", pair: Pair, reason: str) -> None:
    """Not to be scored, and why."""
    if pair.kept and talk.desk.lab is not None:
        await talk.desk.lab.exposures.void(pair.id, reason)


async def let_go(talk: "ChatService", pair: Pair) -> None:
    """Nobody waits for these answers any more. A pair that nobody heard the end of is void."""
    await void(talk, pair, "abandoned")
    for side in pair.sides:
        with suppress(PasticheError):
            await talk.core.cancel(side.job)
            await talk.lost(side.job)

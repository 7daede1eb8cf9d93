"""Two answers on their way to a vote, and how they come to an end. Whose consent is live has the pair on
record; of the others it is remembered here until it is old."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from bot.locales import words
from bot.service.rate_limit import Bounded
from engine.errors import AskerError, MediaError, PasticheError
from engine.events import Picture
from engine.study.experiments.exposures import OPEN_SECONDS

if TYPE_CHECKING:
    from bot.service.context import Context
    from bot.service.request import Who
    from engine.plan.plan import Plan
    from engine.process.services import Services
    from engine.study.consent.participants import Person
    from engine.study.experiments.experiment import Arm, Experiment
    from engine.study.experiments.passages import Item

MOST = 2_000  # pairs remembered
PAIR = "pair:"  # begins a receipt, and the address of an answer that is never sent by itself


@dataclass(slots=True)
class Side:
    """One of the two answers; `text` is shown, scrubbed; `named`: it had named its writer."""

    arm: "Arm"
    plan: "Plan | None" = None  # none for what was made ahead
    text: str = ""
    named: bool = False
    picture: "Picture | None" = None
    adapter: str = ""

    @property
    def planned(self) -> "Plan":
        assert self.plan is not None, "it is written now"
        return self.plan

    @property
    def job(self) -> str:
        return self.plan.job.id if self.plan else ""

    @property
    def facts(self) -> dict[str, Any]:
        return {
            "arm": self.arm.name,
            "expert": self.plan.expert.name if self.plan else self.arm.expert,
            "plain": self.arm.plain,
            "adapter_digest": self.adapter,
            "named_itself": self.named,
        }


@dataclass(slots=True)
class Pair:
    """Two answers on their way to a vote; `sides` in the order of showing, a then b."""

    id: str
    who: "Who"
    sides: tuple[Side, Side]
    person: "Person | None" = None
    experiment: "Experiment | None" = None
    step: str = ""
    made: float = field(default_factory=time.monotonic)
    choice: str = ""
    reason: str = ""
    revealed: bool = False
    stopped: bool = False
    written: bool = False

    @property
    def practice(self) -> bool:
        step = self.experiment.step_named(self.step) if self.experiment and self.step else None
        return step is not None and step.practice

    @property
    def kept(self) -> bool:
        return self.person is not None

    @property
    def blind(self) -> bool:
        return (
            self.experiment is not None and self.experiment.reveal != "each" and not self.practice
        )

    @property
    def picture(self) -> bool:
        return self.sides[0].picture is not None

    @property
    def facts(self) -> list[dict[str, Any]]:
        return [{"label": label, **s.facts} for label, s in zip("ab", self.sides, strict=True)]


class Pairs:
    """Remember the pairs of this process that may still be voted on."""

    def __init__(self, context: "Context") -> None:
        self._context = context
        self._pairs = Bounded[str, Pair](MOST)

    def add(self, pair: Pair) -> None:
        self._pairs[pair.id] = pair

    def under_way(self, who: "Who") -> str:
        mine = [p for p in self._pairs.values() if p.who.account == who.account and not p.written]
        return mine[-1].id if mine else ""

    def get(self, name: str) -> Pair | None:
        pair = self._pairs.get(name)
        if pair is not None and time.monotonic() - pair.made > OPEN_SECONDS:
            del self._pairs[name]
            return None
        return pair

    def giveaways(self, pair: Pair) -> tuple[str, ...]:
        extra = pair.experiment.scrub if pair.experiment else ()
        return (*(e.title for e in self._context.registry.experts if e.medium == "text"), *extra)

    async def receipt(self, name: str, shown: bool) -> None:
        """Count both answers as delivered once the pair is on the screen; else void it."""
        pair = self.get(name)
        if pair is None:
            return
        if not shown:
            await self.void(pair, "undelivered")
            await self.let_go(pair)
            return
        if pair.person is not None:
            await self._context.services.study.exposures.delivered(name)
        for side in pair.sides:
            if side.job:
                await self._context.deliveries.delivered(side.job)

    async def stop(self, who: "Who", name: str = "") -> bool:
        """Cancel both; False where there is nothing to stop. Raises AskerError for another's pair."""
        pair = self.get(name or self.under_way(who))
        if pair is None:
            return False
        if pair.who.account != who.account:
            raise AskerError(words("talk.not_yours", who.locale))
        pair.stopped = True
        for side in pair.sides:
            if side.job:
                await self._context.engine.cancel(side.job)
        return not pair.written

    async def void(self, pair: Pair, reason: str) -> None:
        if pair.person is not None:
            await self._context.services.study.exposures.void(pair.id, reason)

    async def let_go(self, pair: Pair) -> None:
        """Cancel both, as nobody waits any more. A pair that nobody heard the end of is void."""
        await self.void(pair, "abandoned")
        for side in (side for side in pair.sides if side.job):
            with suppress(PasticheError):
                await self._context.engine.cancel(side.job)
                await self._context.deliveries.lost(side.job)


class VoidError(Exception):
    """The pair cannot be judged; `reason` for the record, the words for the asker."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


async def shown_item(services: "Services", item: "Item") -> tuple[str, tuple[Picture, ...]]:
    """Give an item's words, or its picture: of a stimulus, or of an answer. Raises MediaError."""
    if not item.picture:
        return f"“{item.text}”", ()
    path = services.study.stimuli.picture(item)
    kept = partial(services.ledger.media.get, item.picture)
    data = await asyncio.to_thread(path.read_bytes if item.pool else kept)
    if data is None:
        raise MediaError(item.id)
    return "", (Picture(data=data, width=0, height=0, seed=0),)

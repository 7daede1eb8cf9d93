"""`pastiche study simulate`: made-up people go through the real path, on a data folder of their own.

All is real but the people, the model and the clock. What they prefer is given, so that an analysis of
the export can be held against it. Their choices follow from the seed; ids and the study's key do not.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from bot.service.service import ChatService
from bot.study.simulated_person import LEFT_OUT, PLACES, Effects, Person, SimulatedClock, who_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """Let people live, some at a time, for `rounds` things each, or until they are done."""

    talk: ChatService
    seed: int
    clock: SimulatedClock
    effects: Effects
    rounds: int | None = 3
    counts: Counter[str] = field(default_factory=Counter)

    async def run(self, count: int, at_once: int, done: Callable[[], None]) -> None:
        await self._open_places()
        numbers = iter(range(count))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, count)):
                group.create_task(self._some(numbers, done))

    async def _some(self, numbers: Iterator[int], done: Callable[[], None]) -> None:
        for number in numbers:
            of = self.clock, self.effects, self.counts
            await Person(self.talk, self.seed, number, *of).live(self.rounds)
            done()

    async def _open_places(self) -> None:
        """Let those who manage servers bring them in, but for one."""
        for number, place in enumerate(PLACES):
            if place != LEFT_OUT:
                platform = ("discord", "telegram")[number % 2]
                who = who_of(platform, f"manager {number}", place, manager=True)
                await self.talk.say(self.talk.parse("/study on"), who)
                self.counts["places in"] += 1

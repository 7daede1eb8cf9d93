"""Made-up people: what they prefer, how long they think, and their way through a study."""

import math
import random
import time
from collections import Counter
from contextlib import aclosing, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from statistics import NormalDist

from bot.messages.buttons import Press, Verb
from bot.service.dispatch_table import Response
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from bot.study.ballot import REASONS
from bot.study.study_hooks import StudyHooks
from engine.errors import AskerError
from engine.events import Event, Finished, is_final
from engine.study.experiments.passages import KINDS

AGREE = 0.85  # of those who are asked
WITHDRAW, FORGET = 0.03, 0.02
TIE, BAD = 0.12, 0.05
THUMBS = (0.35, 0.12)  # up, down
READ_SECOND = 20.0  # characters that are read in a second
PRESS_SECONDS, SPREAD = 1.5, 0.5  # of a choice at the least; of the logarithm of all times
MOST_STEPS = 2_000  # of somebody who goes on until done
PLATFORMS = ("discord",) * 5 + ("telegram",) * 4 + ("terminal",)
PLACES = tuple(f"server {n}" for n in range(6))
LEFT_OUT = PLACES[-1]  # never opts in
WISHES = (
    "in the style of lovecraft: They sat alone in the darkened room.",
    "in the style of agatha christie: The vicar coughed and put his cup down.",
    "a story about the necronomicon: It had been a wet autumn.",
    "The train was late again, and nobody minded.",
    "There was a letter on the mat.",
    "a detective story: The clock in the hall had stopped at ten.",
)
NEWS = ("A bridge in the north reopens after repairs", "A quiet day at the harbour")


@dataclass(frozen=True, slots=True, kw_only=True)
class Effects:
    """Hold what is put in: the share of decided votes for the treated arm, of the first shown where both
    are alike; d'; and how many leave at each step of a flow, or each pair."""

    win: float = 0.64
    first: float = 0.5
    dprime: float = 1.0
    drop_out: float = 0.04


class SimulatedClock:
    """Tell each made-up person a time of their own, which their thinking moves; nobody waits for it."""

    def __init__(self) -> None:
        self._ahead: ContextVar[float] = ContextVar("ahead", default=0.0)

    def __call__(self) -> float:
        return time.time() + self._ahead.get()

    def think(self, draw: random.Random, text: str) -> None:
        seconds = PRESS_SECONDS + len(text) / READ_SECOND
        self._ahead.set(self._ahead.get() + seconds * math.exp(draw.gauss(0.0, SPREAD)))


def who_of(
    platform: str, asker: str, place: str = "", *, manager: bool = False, locale: str = "en"
) -> Who:
    server = place if platform == "discord" and place else ""
    return Who(
        platform=platform,
        asker=f"sim {asker}",
        place=(f"{place} channel" if server else place) or f"alone {asker}",
        server=server,
        alone=not place,
        manager=manager,
        server_manager=manager,
        locale=locale,
    )


class Person:
    def __init__(
        self,
        talk: ChatService,
        seed: int,
        number: int,
        clock: SimulatedClock,
        effects: Effects,
        counts: Counter[str],
    ) -> None:
        hooks = talk.context.handlers.study
        assert isinstance(hooks, StudyHooks)
        self._chat = hooks.chat
        self._talk = talk
        self._number = number
        self._draw = draw = random.Random(f"{seed}|{number}")
        self._clock, self._effects, self._count = clock, effects, counts
        platform = draw.choice(PLATFORMS)
        shared = platform != "terminal" and draw.random() < 0.3
        mine = [p for n, p in enumerate(PLACES) if ("discord", "telegram")[n % 2] == platform]
        place = draw.choice(mine) if shared and mine else ""
        locale = "it" if draw.random() < 0.2 else "en"
        self._who = who_of(platform, str(number), place, locale=locale)
        self._alone = who_of(platform, str(number), locale=locale)  # for /consent

    async def live(self, rounds: int | None) -> None:
        await self._request()
        agreed = self._draw.random() < AGREE
        if agreed:
            await self._agree()
        else:
            self._count["declined"] += 1
        if rounds is None and agreed:
            await self._until_done()
        for _ in range(rounds or 0):
            what = self._draw.choices((self._request, self._compare, self._guess), (3, 4, 5))[0]
            try:
                await what()
            except AskerError:
                self._count["refused"] += 1
        await self._leave()

    async def _until_done(self) -> None:
        """Go through the flow; where there is none, compare and guess as often as is asked."""
        with suppress(AskerError):
            [said] = await self._say(f"/study join sim{self._number}", self._alone)
            await self._through(said)
            return
        for ask, task in ((self._compare, "compare"), (self._guess, "guess")):
            known = self._chat.study_services
            every = known.experiments.all if known is not None else ()
            most = max((e.exposures for e in every if e.task == task), default=0)
            for _ in range(most):
                try:
                    await ask()
                except AskerError:
                    self._count["refused"] += 1

    async def _through(self, said: Reply) -> None:
        for _ in range(MOST_STEPS):
            if self._draw.random() < self._effects.drop_out:
                self._count["left"] += 1
                return
            if said.typed:
                [said] = await self._say("34", self._alone)
            elif votes := _presses(said, Verb.VOTE):
                said = await self._vote(votes[0].job, said, self._alone)
            elif guesses := _presses(said, Verb.GUESS):
                said = await self._guessed(guesses[0].job, said, self._alone)
            elif choices := _presses(said, Verb.ANSWER):
                go_on = [b for b in choices if b.argument.endswith(".start")]
                [said] = await self._press(self._draw.choice(go_on or choices), self._alone, said)
            elif "/compare" in said.text:  # of one's own
                *_, said = await self._say(f"/compare {self._draw.choice(WISHES)}", self._alone)
            else:
                self._count["completed"] += 1
                return

    async def _leave(self) -> None:
        dice = self._draw.random()
        if dice < WITHDRAW:
            [asked] = await self._say("/withdraw", self._alone)
            with suppress(StopIteration, AskerError):
                await self._press(next(b.press for row in asked.choices for b in row), self._alone)
            self._count["withdrew"] += 1
        elif dice < WITHDRAW + FORGET:
            [asked] = await self._say("/forget", self._alone)
            await self._press(_presses(asked, Verb.FORGET)[0], self._alone)
            self._count["forgot"] += 1

    # The path of a client: say or press, show, receipt

    async def _say(self, text: str, who: Who | None = None) -> list[Reply]:
        who = who or self._who
        heard = await self._hear(await self._talk.say(self._talk.parse(text), who), who)
        return await self._questioned(heard, who)

    async def _press(
        self, press: Press, who: Who | None = None, said: Reply | None = None
    ) -> list[Reply]:
        self._clock.think(self._draw, said.text if said else "")
        who = who or self._who
        return await self._hear(await self._talk.press(press, who), who)

    async def _hear(self, reply: Response, who: Who) -> list[Reply]:
        """Collect the replies; deliver an answer, and answer what follows upon it."""
        if isinstance(reply, Reply):
            await self._talk.arrived(reply.receipt)
            return [reply]
        heard: list[Reply] = []
        last: Event | None = None
        async with aclosing(reply) as events:
            async for event in events:
                if isinstance(event, Reply):
                    await self._talk.arrived(event.receipt)
                    heard.append(event)
                else:
                    last = event
        if last is not None and is_final(last):
            await self._talk.context.services.outbox.sending(last.job)
            await self._talk.deliveries.delivered(last.job)
            if isinstance(last, Finished):
                await self._answered(last, who)
        return await self._questioned(heard, who)

    async def _questioned(self, heard: list[Reply], who: Who) -> list[Reply]:
        """Answer the questions that come before what was asked for, until it comes."""
        while heard and (presses := _presses(heard[-1], Verb.ANSWER)):
            self._count["questions answered"] += 1
            heard = await self._press(self._draw.choice(presses), who)
        return heard

    async def _answered(self, final: Finished, who: Who) -> None:
        self._count["answers"] += 1
        asked = await self._talk.invitation(who, final.job)
        if asked is not None and _presses(asked, Verb.ANSWER):
            await self._questioned([asked], who)
        elif asked is not None:
            self._count["invited"] += 1
        dice = self._draw.random()
        if dice < THUMBS[0]:
            await self._press(Press(Verb.UP, final.job), who)
        elif dice < sum(THUMBS):
            await self._press(Press(Verb.DOWN, final.job), who)

    # What they do

    async def _agree(self) -> None:
        [form] = await self._say("/consent", self._alone)
        for yes in (True, True, self._draw.random() < 0.6, self._draw.random() < 0.4):
            [form] = await self._press(form.ask[0 if yes else 1].press, self._alone)
        await self._press(form.ask[0].press, self._alone)
        self._count["agreed"] += 1

    async def _request(self) -> None:
        news = self._draw.random() < 0.15
        text = f"/news {self._draw.choice(NEWS)}" if news else f"/story {self._draw.choice(WISHES)}"
        await self._say(text)

    async def _compare(self) -> None:
        heard = await self._say(f"/compare {self._draw.choice(WISHES)}")
        if not heard or not (votes := _presses(heard[-1], Verb.VOTE)):
            self._count["pairs void"] += 1
            return
        self._count["pairs"] += 1
        if self._draw.random() < self._effects.drop_out:
            return
        await self._finish(await self._vote(votes[0].job, heard[-1], self._who))

    async def _vote(self, name: str, said: Reply, who: Who) -> Reply:
        await self._press(Press(Verb.VOTE, name, await self._preferred(name)), who, said)
        if self._draw.random() < 0.4:
            await self._press(Press(Verb.BECAUSE, name, self._draw.choice(REASONS)), who)
        [told] = await self._press(Press(Verb.VOTE, name, "reveal"), who)
        self._count["votes"] += 1
        return told

    async def _preferred(self, name: str) -> str:
        """Draw a vote: the logits of the treated arm and of the first place add up."""
        dice, effects = self._draw.random(), self._effects
        if dice < TIE + BAD:
            return "tie" if dice < TIE else "bad"
        pair = self._chat.pairs.get(name)
        arms = [(side.arm.plain, side.arm.name) for side in pair.sides if side.arm] if pair else []
        if pair is None and (study := self._talk.context.services.study_services):  # made ahead
            seen = await study.exposures.get(name)
            arms = [(False, facts["arm"]) for facts in seen.shown] if seen else []
        logit = math.log(effects.first / (1 - effects.first))
        if len(arms) == 2 and arms[0] != arms[1]:
            treated = 1 if arms[0] < arms[1] else -1
            logit += treated * math.log(effects.win / (1 - effects.win))
        return "a" if self._draw.random() < 1 / (1 + math.exp(-logit)) else "b"

    async def _guess(self) -> None:
        heard = await self._say("/guess")
        if heard and (presses := _presses(heard[-1], Verb.GUESS)):
            await self._finish(await self._guessed(presses[0].job, heard[-1], self._who))

    async def _guessed(self, name: str, said: Reply, who: Who) -> Reply:
        kind = self._chat.guessing.kind_of(name)
        right = self._draw.random() < NormalDist().cdf(self._effects.dprime / 2)
        guess = kind if right else next(other for other in KINDS if other != kind)
        sure = min(6, max(1, round(self._draw.gauss(4.2 if right else 3.1, 1.2))))
        await self._press(Press(Verb.GUESS, name, guess), who, said)
        [told] = await self._press(Press(Verb.GUESS, name, f"{guess}.{sure}"), who)
        self._count["guesses"] += 1
        return told

    async def _finish(self, told: Reply) -> None:
        if last := _presses(told, Verb.ANSWER):
            await self._questioned(await self._press(last[0]), self._who)
            self._count["completed"] += 1


def _presses(said: Reply, verb: Verb) -> list[Press]:
    return [button.press for row in said.choices for button in row if button.press.verb is verb]

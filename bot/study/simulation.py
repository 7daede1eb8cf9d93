"""`pastiche study simulate`: made-up people go through the real path, on a data folder of their own.

All is real but the people and the model. What they prefer is set below, so that an analysis of the
export can be held against it. Their choices follow from the seed; ids, times and the study's key do not.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import aclosing, suppress

from bot.messages.buttons import Button, Press, Verb
from bot.service.actions import BLAMES
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
LIKES_EXPERT = 0.64  # of those who choose one of two
TIE, BAD = 0.12, 0.05
TELLS_GENERATED, TELLS_REAL = 0.72, 0.66  # of guesses
LEAVES_PAIR = 0.04
THUMBS = (0.35, 0.12)  # up, down
THINKS = (0.05, 0.6)  # seconds before a press
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


class Simulation:
    """Let people live, some at a time; `pace` is how long they think, as a multiple of THINKS.

    `counts` says what came of it, by kind.
    """

    def __init__(self, talk: ChatService, seed: int, *, rounds: int = 3, pace: float = 1.0) -> None:
        hooks = talk.context.handlers.study
        assert isinstance(hooks, StudyHooks)
        self.chat = hooks.chat
        self._talk = talk
        self._seed = seed
        self._rounds = rounds
        self._pace = pace
        self.counts: Counter[str] = Counter()

    async def run(self, count: int, at_once: int, done: Callable[[], None]) -> None:
        await self._open_places()
        numbers = iter(range(count))
        async with asyncio.TaskGroup() as group:
            for _ in range(min(at_once, count)):
                group.create_task(self._some(numbers, done))

    async def _some(self, numbers: Iterator[int], done: Callable[[], None]) -> None:
        for number in numbers:
            await _Person(self._talk, self._seed, number, self).live(self._rounds)
            done()

    async def _open_places(self) -> None:
        """Let those who manage servers bring them in, but for one."""
        for number, place in enumerate(PLACES):
            if place != LEFT_OUT:
                platform = ("discord", "telegram")[number % 2]
                who = _who(platform, f"manager {number}", place, manager=True)
                await self._talk.say(self._talk.parse("/study on"), who)
                self.counts["places in"] += 1

    async def think(self, draw: random.Random) -> None:
        await asyncio.sleep(self._pace * draw.uniform(*THINKS))


def _who(
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


class _Person:
    def __init__(self, talk: ChatService, seed: int, number: int, simulation: Simulation) -> None:
        self._talk = talk
        self._draw = draw = random.Random(f"{seed}|{number}")
        self._simulation = simulation
        self._count = simulation.counts
        platform = draw.choice(PLATFORMS)
        shared = platform != "terminal" and draw.random() < 0.3
        mine = [p for n, p in enumerate(PLACES) if ("discord", "telegram")[n % 2] == platform]
        place = draw.choice(mine) if shared and mine else ""
        locale = "it" if draw.random() < 0.2 else "en"
        self._who = _who(platform, str(number), place, locale=locale)
        self._alone = _who(platform, str(number), locale=locale)  # for /consent

    async def live(self, rounds: int) -> None:
        await self._request()
        if self._draw.random() < AGREE:
            await self._agree()
        else:
            self._count["declined"] += 1
        for _ in range(rounds):
            what = self._draw.choices((self._request, self._compare, self._guess), (3, 4, 5))[0]
            try:
                await what()
            except AskerError:
                self._count["refused"] += 1
        await self._leave()

    async def _leave(self) -> None:
        dice = self._draw.random()
        if dice < WITHDRAW:
            [asked] = await self._say("/withdraw", self._alone)
            with suppress(StopIteration, AskerError):
                await self._press(next(b for row in asked.choices for b in row), self._alone)
            self._count["withdrew"] += 1
        elif dice < WITHDRAW + FORGET:
            [asked] = await self._say("/forget", self._alone)
            await self._press(_buttons(asked, Verb.FORGET)[0], self._alone)
            self._count["forgot"] += 1

    # The path of a client: say or press, show, receipt

    async def _say(self, text: str, who: Who | None = None) -> list[Reply]:
        who = who or self._who
        heard = await self._hear(await self._talk.say(self._talk.parse(text), who), who)
        return await self._questioned(heard, who)

    async def _press(self, button: Button | Press, who: Who | None = None) -> list[Reply]:
        await self._simulation.think(self._draw)
        who = who or self._who
        press = button if isinstance(button, Press) else button.press
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
            await self._talk.deliveries.sending(last.job)
            await self._talk.deliveries.delivered(last.job)
            if isinstance(last, Finished):
                await self._answered(last, who)
        return await self._questioned(heard, who)

    async def _questioned(self, heard: list[Reply], who: Who) -> list[Reply]:
        """Answer the questions that come before what was asked for, until it comes."""
        while heard and (buttons := _buttons(heard[-1], Verb.ANSWER)):
            self._count["questions answered"] += 1
            heard = await self._press(self._draw.choice(buttons), who)
        return heard

    async def _answered(self, final: Finished, who: Who) -> None:
        self._count["answers"] += 1
        asked = await self._talk.invitation(who, final.job)
        if asked is not None and _buttons(asked, Verb.ANSWER):
            await self._questioned([asked], who)
        elif asked is not None:
            self._count["invited"] += 1
        dice = self._draw.random()
        if dice < THUMBS[0]:
            await self._press(Press(Verb.UP, final.job), who)
        elif dice < sum(THUMBS):
            await self._press(Press(Verb.DOWN, final.job), who)
            await self._press(Press(Verb.BLAME, final.job, self._draw.choice(BLAMES)), who)

    # What they do

    async def _agree(self) -> None:
        [form] = await self._say("/consent", self._alone)
        for yes in (True, True, self._draw.random() < 0.6, self._draw.random() < 0.4):
            [form] = await self._press(form.ask[0 if yes else 1], self._alone)
        await self._press(form.ask[0], self._alone)
        self._count["agreed"] += 1

    async def _request(self) -> None:
        news = self._draw.random() < 0.15
        text = f"/news {self._draw.choice(NEWS)}" if news else f"/story {self._draw.choice(WISHES)}"
        await self._say(text)

    async def _compare(self) -> None:
        heard = await self._say(f"/compare {self._draw.choice(WISHES)}")
        if not heard or not _buttons(heard[-1], Verb.VOTE):
            self._count["pairs void"] += 1
            return
        self._count["pairs"] += 1
        if self._draw.random() < LEAVES_PAIR:
            return
        name = _buttons(heard[-1], Verb.VOTE)[0].press.job
        await self._press(Press(Verb.VOTE, name, self._preferred(name)))
        if self._draw.random() < 0.4:
            await self._press(Press(Verb.BECAUSE, name, self._draw.choice(REASONS)))
        told = await self._press(Press(Verb.VOTE, name, "reveal"))
        self._count["votes"] += 1
        await self._finish(told)

    def _preferred(self, name: str) -> str:
        dice = self._draw.random()
        if dice < TIE:
            return "tie"
        if dice < TIE + BAD:
            return "bad"
        pair = self._simulation.chat.pairs.get(name)
        expert = self._draw.random() < LIKES_EXPERT
        if pair is None or pair.sides[0].arm.plain == pair.sides[1].arm.plain:
            return "a" if expert else "b"
        first = pair.sides[0].arm.plain != expert
        return "a" if first else "b"

    async def _guess(self) -> None:
        heard = await self._say("/guess")
        if not heard or not (buttons := _buttons(heard[-1], Verb.GUESS)):
            return
        name = buttons[0].press.job
        kind = self._simulation.chat.guessing.kind_of(name)
        right = self._draw.random() < (TELLS_REAL if kind == "real" else TELLS_GENERATED)
        said = kind if right else next(other for other in KINDS if other != kind)
        sure = min(6, max(1, round(self._draw.gauss(4.2 if right else 3.1, 1.2))))
        await self._press(Press(Verb.GUESS, name, said))
        told = await self._press(Press(Verb.GUESS, name, f"{said}.{sure}"))
        self._count["guesses"] += 1
        await self._finish(told)

    async def _finish(self, told: list[Reply]) -> None:
        last = [b for said in told for b in _buttons(said, Verb.ANSWER)]
        if last:
            await self._questioned(await self._press(last[0]), self._who)
            self._count["completed"] += 1


def _buttons(said: Reply, verb: Verb) -> list[Button]:
    return [button for row in said.choices for button in row if button.press.verb is verb]

"""What all platforms share beyond one command and its reply: who may, how much, and what is kept.

`ChatService` wraps the engine: the same events come out, moderated, paid for, and with their delivery
accounted for. A client parses, shows and sends; it decides nothing else.
"""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from bot.locales import words
from bot.messages import draft
from bot.messages.buttons import Press
from bot.messages.escape import defang
from bot.messages.footer import footer
from bot.messages.grammar import Again, Command, Compare, Continue, Generate, Simple, parse
from bot.service.actions import ask_to_forget, pressed, report
from bot.service.admin import administer, settle
from bot.service.answer import generate
from bot.service.delivery import PAIR, Deliveries
from bot.service.moderation import GROWTH, Moderation
from bot.service.rate_limit import REMEMBERED, RequestRate
from bot.service.repeats import Repeats
from bot.service.request import Reply, Who, meant
from bot.settings import PlatformSettings
from bot.study.compare import compare
from bot.study.consent import COMMANDS, RIGHTS, invitation, speak
from bot.study.guess import GUESS, GuessGame
from bot.study.pair import Pairs, arrived, missed, stop
from bot.study.questionnaire import Questions
from engine import Engine
from engine.chat.places import Place
from engine.errors import AskerError, BusyError
from engine.events import Cancelled, Event, Finished
from engine.moderation import Content, Moderator
from engine.plan.cards import Registry
from engine.plan.job import Answer
from engine.process.composition import Desk

ALWAYS = ("privacy", "forget", "help", "report", *RIGHTS)  # answered to everybody, at any time

Response = Reply | AsyncGenerator[Event | Reply]


class ChatService(Deliveries):
    """One for a process; its clients speak through it."""

    def __init__(
        self,
        core: Engine,
        desk: Desk,
        moderator: Moderator,
        settings: PlatformSettings,
        *,
        growth: int = GROWTH,
    ) -> None:
        super().__init__(core, desk)
        self.settings = settings
        self.guard = Moderation(moderator, desk, core, growth)
        self.hurry = RequestRate(settings.asker_waiting, limited=settings.asker_burst > 0)
        self.draining = False
        self.pairs = Pairs()
        self.guessing = GuessGame(self)
        self.questions = Questions(self)
        self.stop: Callable[[], None] = lambda: None  # /admin drain; serve puts its own here
        self.too_young = Repeats(REMEMBERED)  # in memory: no row says so of anybody
        self._presses = Repeats(REMEMBERED)

    @property
    def registry(self) -> Registry:
        """The experts."""
        return self.core.registry

    @property
    def commands(self) -> tuple[str, ...]:
        """The cards' own commands."""
        return self.registry.commands

    def parse(self, text: str) -> Command:
        """What was meant. Raises AskerError."""
        return parse(text, self.commands)

    # Commands and buttons

    async def say(self, command: Command, who: Who) -> AsyncGenerator[Event | Reply]:
        """The reply to a command. Raises AskerError, whose words are for the asker."""
        self.hurry.step(who)
        await self.admit(command, who)
        match command:
            case Simple():
                yield await self._simple(command, who)
            case Generate() | Again() | Continue() | Compare():
                if isinstance(command, Compare):
                    asked = compare(self, command, who)
                else:
                    asked = generate(self, command, who)
                with self.hurry.asking(who):
                    async with aclosing(asked) as events:
                        async for event in events:
                            yield event

    async def press(self, press: Press, who: Who) -> Response:
        """The reply to a button: words, or the events of a new answer. Raises AskerError."""
        self.hurry.step(who)
        return await pressed(self, press, who)

    def twice(self, press: Press, who: Who, seconds: float) -> bool:
        """Whether the same person pressed the same button just now."""
        return not self._presses.new((who.platform, who.asker, press), seconds)

    async def admit(self, command: Command, who: Who) -> None:
        """Raises AskerError for somebody who is kept out, and while nothing new is taken."""
        if isinstance(command, Simple) and command.name in ALWAYS:
            return
        if not self.operates(who) and not await self.welcome(who):
            raise AskerError(words("talk.blocked", who.locale))
        if isinstance(command, Simple):
            return
        if self.draining:
            raise BusyError(words("talk.draining", who.locale))
        if "paused" in await self.desk.places.switched():
            raise BusyError(words("talk.paused", who.locale))

    async def welcome(self, who: Who) -> bool:
        """Whether the operator's lists let this person be answered here."""
        places = [name for name in (who.place, who.parent) if name]
        return await self.desk.places.welcome(who.platform, who.asker, places, who.server)

    def operates(self, who: Who) -> bool:
        """Whether this is one of the people who run the bot."""
        return f"{who.platform}:{who.asker}" in self.settings.operators

    async def _simple(self, command: Simple, who: Who) -> Reply:
        match command.name:
            case "privacy":
                return Reply(self.privacy(who), private=True)
            case "forget":
                return await ask_to_forget(self, who)
            case "report":
                return await report(self, command.topic, who)
            case "settings":
                return await settle(self, command.topic, who)
            case "admin":
                return await administer(self, command.topic, who)
            case "guess":
                return await self.guessing.guess(who)
            case "cancel":
                await self.note("cancel", who)
                if (pair := self.pairs.under_way(who)) and await stop(self, pair, who):
                    return Reply(words("talk.stopping", who.locale))
                last = await self.core.last(who.platform, who.asker, who.place)
                stopped = last is not None and await self.core.cancel(last.job.id)
                return Reply(
                    words(f"talk.{'stopping' if stopped else 'nothing_to_stop'}", who.locale)
                )
            case name if name in COMMANDS:
                return await speak(self, name, command.topic, who)
            case _:
                return Reply(await self._told(command, who))

    async def _told(self, command: Simple, who: Who) -> str:
        """What needs no more than the cards, the queue and the last answer."""
        match command.name:
            case "styles":
                return draft.styles(self.registry)
            case "queue":
                return draft.queue(await self.core.status())
            case "why":
                return draft.why(await meant(who, self.core), self.registry)
            case _:
                topic = command.topic if command.name == "help" else ""
                return draft.help_text(self.registry, topic, who.platform)

    def privacy(self, who: Who) -> str:
        """The notice; it needs no database."""
        contact = self.settings.contact
        tail = words("privacy.contact", who.locale, contact=contact) if contact else ""
        kind = "terminal" if who.platform == "terminal" else "text"
        notice = words(f"privacy.{kind}", who.locale, contact=tail)
        study = self.desk.agreements.study
        if study is None:
            return notice
        told = words("privacy.study", who.locale, title=study.file.title)
        return f"{notice}\n\n{told}"

    async def invitation(self, who: Who, job: str = "") -> Reply | None:
        """After an answer that was shown whole: the study's invitation, if it is time for one, or the
        question of an experiment that the answer belongs to."""
        invited = await invitation(self, who)
        return invited or (await self.questions.rating(job, who) if job else None)

    # Answers

    async def footer(self, final: Finished | Cancelled, who: Who | str = "en") -> str:
        """Below an answer: what to know about it, who wrote it and why, and that a machine did."""
        return defang(await footer(self, final, who))

    async def arrived(self, receipt: str) -> None:
        """See Deliveries."""
        kind, _, name = receipt.partition(":")
        if f"{kind}:" == PAIR:
            await arrived(self, name)
        elif f"{kind}:" == GUESS:
            await self.guessing.arrived(name)

    async def missed(self, receipt: str) -> None:
        """See Deliveries."""
        kind, _, name = receipt.partition(":")
        if f"{kind}:" == PAIR:
            await missed(self, name)
        elif f"{kind}:" == GUESS:
            await self.guessing.missed(name)

    async def note(self, kind: str, who: Who) -> None:
        """For the study: what is done with the answer that somebody means, if there is one."""
        if self.desk.agreements.study is None:
            return
        last = await self.core.last(who.platform, who.asker, who.place)
        job = who.reply_to or (last.job.id if last else None)
        if job is not None:
            await self.desk.agreements.event(kind, job, platform=who.platform, asker=who.asker)

    async def follow(self, job: str, who: Who | None = None) -> AsyncGenerator[Event | Reply]:
        """The events of a job asked for earlier, moderated as it was then."""
        answer = await self.core.answer(job)
        if answer is None:
            return
        asked = answer.request
        who = who or Who(platform=asked.platform, asker=asked.asker, place=asked.place)
        content = Content(text=asked.text, command=asked.command, medium=answer.job.medium)
        self.take_in_hand(job)
        try:
            events = self.guard.watch(self.core.follow(job), who, content, keep=not asked.private)
            async with aclosing(events):
                async for event in events:
                    self.take_in_hand(job, event)
                    yield event
        finally:
            self.let_go(job)

    async def answer(self, who: Who) -> Answer:
        """The answer that somebody means: replied to, or their last one here. Raises AskerError."""
        return await meant(who, self.core)

    async def left(self, platform: str, place: str, within: Sequence[str] = ()) -> None:
        """The bot was sent away from a group, or a server with these channels: it lets go of them."""
        await self.desk.leave(platform, place, within)

    async def grown(self, platform: str, place: str, now: str) -> None:
        """A group goes by another name from now on: what is set for it holds there."""
        await self.desk.rename(platform, place, now)

    async def seen(self, platform: str, update: str | int) -> bool:
        """Whether an update was taken before; from now on it was."""
        return await self.desk.seen(platform, str(update))

    async def place(self, who: Who) -> Place:
        """The settings of the place: its own, else those of the channel or group that it is part of."""
        return await self.desk.places.place(who.platform, who.place, who.parent)

    async def listens(self, who: Who) -> bool:
        """Whether to answer here without being mentioned: the operator and the place both say so."""
        return self.settings.message_content and (await self.place(who)).talk_on

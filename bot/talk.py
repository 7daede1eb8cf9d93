"""What Discord and Telegram share beyond one command and its reply: who may, how much, and what is kept.

`Talk` wraps the engine: the same events come out, moderated, paid for, and with their delivery
accounted for. A client parses, shows and sends; it decides nothing else.
"""

import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from bot import render
from bot.administration import administer, settle
from bot.buttons import Press
from bot.comparing import compare
from bot.conversation import Said, Who, converse, meant, request_of
from bot.delivering import PAIR, Deliveries
from bot.english import looks_english
from bot.experimenting import expose, treat
from bot.grammar import Again, Command, Compare, Continue, Generate, Simple, parse
from bot.guarding import Guard, RefusedError
from bot.guessing import GUESS, Guessing
from bot.hurrying import Hurry
from bot.locales import words
from bot.pairs import Pairs, arrived, missed, stop
from bot.presses import ask_to_forget, pressed, report
from bot.questions import Questions
from bot.settings import PlatformSettings
from bot.studying import COMMANDS, RIGHTS, invitation, speak
from engine import Engine
from engine.desk.desk import Desk
from engine.desk.house import Place
from engine.errors import AskerError, BusyError, LimitError
from engine.events import Cancelled, Event, Failed, Finished
from engine.jobs import Answer, Request
from engine.ledger import new_id
from engine.moderation import Content, Moderator, Stage
from engine.prompting import assemble
from engine.registry import Expert, Registry
from engine.routing import route
from engine.treating import ARM, route_of

ALWAYS = ("privacy", "forget", "help", "report", *RIGHTS)  # answered to everybody, at any time

Reply = Said | AsyncGenerator[Event | Said]


@dataclass(frozen=True, slots=True)
class Paid:
    """What a request cost, and where it was taken from."""

    who: Who
    cost: float


class Talk(Deliveries):
    """One for a process; both clients speak through it."""

    def __init__(
        self,
        core: Engine,
        desk: Desk,
        moderator: Moderator,
        settings: PlatformSettings,
    ) -> None:
        super().__init__(core, desk)
        self.settings = settings
        self.guard = Guard(moderator, desk, core)
        self.hurry = Hurry(settings.asker_waiting, limited=settings.asker_burst > 0)
        self.draining = False
        self.pairs = Pairs()
        self.guessing = Guessing(self)
        self.questions = Questions(self)
        self.stop: Callable[[], None] = lambda: None  # /admin drain; serve puts its own here
        self._presses: dict[tuple[str, str, Press], float] = {}

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

    async def say(self, command: Command, who: Who) -> AsyncGenerator[Event | Said]:
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
                    asked = self._generate(command, who)
                with self.hurry.asking(who):
                    async with aclosing(asked) as events:
                        async for event in events:
                            yield event

    async def press(self, press: Press, who: Who) -> Reply:
        """The reply to a button: words, or the events of a new answer. Raises AskerError."""
        self.hurry.step(who)
        return await pressed(self, press, who)

    def twice(self, press: Press, who: Who, seconds: float) -> bool:
        """Whether the same person pressed the same button just now."""
        now = time.monotonic()
        self._presses = {key: at for key, at in self._presses.items() if now - at < seconds}
        key = (who.platform, who.asker, press)
        known = key in self._presses
        self._presses[key] = now
        return known

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
        if "paused" in await self.desk.house.switched():
            raise BusyError(words("talk.paused", who.locale))

    async def welcome(self, who: Who) -> bool:
        """Whether the operator's lists let this person be answered here."""
        return await self.desk.house.welcome(who.platform, who.asker, who.place, who.server)

    def operates(self, who: Who) -> bool:
        """Whether this is one of the people who run the bot."""
        return f"{who.platform}:{who.asker}" in self.settings.operators

    async def _simple(self, command: Simple, who: Who) -> Said:
        match command.name:
            case "privacy":
                return Said(self.privacy(who), private=True)
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
                await self._note("cancel", who)
                if (pair := self.pairs.under_way(who)) and await stop(self, pair, who):
                    return Said(words("talk.stopping", who.locale))
                return await self._conversed(command, who)
            case name if name in COMMANDS:
                return await speak(self, name, command.topic, who)
            case _:
                return await self._conversed(command, who)

    async def _conversed(self, command: Simple, who: Who) -> Said:
        """What a terminal would be told, too."""
        async with aclosing(converse(command, who, self.core)) as replies:
            async for reply in replies:
                if isinstance(reply, Said):
                    return reply
        return Said("")

    def privacy(self, who: Who) -> str:
        """The notice; it needs no database."""
        contact = self.settings.contact
        tail = words("privacy.contact", who.locale, contact=contact) if contact else ""
        notice = words("privacy.text", who.locale, contact=tail)
        study = self.desk.agreements.study
        if study is None:
            return notice
        told = words("privacy.study", who.locale, title=study.file.title)
        return f"{notice}\n\n{told}"

    async def invitation(self, who: Who, job: str = "") -> Said | None:
        """After an answer that was shown whole: the study's invitation, if it is time for one, or the
        question of an experiment that the answer belongs to."""
        invited = await invitation(self, who)
        return invited or (await self.questions.rating(job, who) if job else None)

    # Answers

    async def _generate(
        self, command: Generate | Again | Continue, who: Who
    ) -> AsyncGenerator[Event | Said]:
        command = await self._with_place_style(command, who)
        request = await request_of(command, who, self.core)
        request = replace(request, treatment=None)  # of an answer that this one takes up
        chosen = route_of(request, self.registry)
        expert = self.registry[chosen.expert]
        keep = not request.private
        job = new_id()
        treated = await treat(self, command, request, expert, job, who)
        if isinstance(treated, Said):
            yield treated
            return
        if treated is not None:
            request, expert = treated.request, treated.expert
            chosen = route_of(request, self.registry)
        try:
            await self._moderate(command, request, expert, who, job if keep else None)
        except RefusedError as refused:
            await self.desk.refused(request, chosen, expert.medium, refused.judged)
            raise
        if isinstance(command, Again):
            await self._note("regenerate", who)
        paid = await self._pay(request, expert, who)
        content = Content(text=request.text, command=request.command, medium=expert.medium)
        accepted = False
        try:
            events = self.guard.watch(self.core.ask(request, job), who, content, keep=keep)
            async with aclosing(events):
                async for event in events:
                    if treated is not None and not accepted:
                        await expose(self, treated, job)
                    accepted = True
                    self.take_in_hand(job)
                    if isinstance(event, Failed | Cancelled) and not getattr(event, "text", ""):
                        await self._refund(paid)
                    if treated is not None:
                        await self._unscored(event, job)
                    told = treated.told if treated is not None else ""
                    yield self._with_note(event, command, who, told)
        finally:
            self.let_go(job)
        if not accepted:
            await self._refund(paid)

    async def _unscored(self, event: Event | Said, job: str) -> None:
        """An answer of an experiment that failed, or was stopped, is no exposure."""
        why = {Said: "moderated", Failed: "failed", Cancelled: "cancelled"}.get(type(event))
        if why is not None and self.desk.lab is not None:
            await self.desk.lab.exposures.unanswered(job, why)

    async def check_prompt(self, request: Request, expert: Expert, who: Who, job: str) -> None:
        """Moderation before a job. Raises RefusedError."""
        asked = Generate(command=request.command, text=request.text)
        try:
            await self._moderate(asked, request, expert, who, job)
        except RefusedError as refused:
            chosen = route_of(request, self.registry)
            await self.desk.refused(request, chosen, expert.medium, refused.judged)
            raise

    async def pay_for(self, requests: Sequence[Request], who: Who) -> list[Paid]:
        """Take the cost of them all, or of none. Raises LimitError."""
        paid: list[Paid] = []
        try:
            for request in requests:
                expert = self.registry[route_of(request, self.registry).expert]
                paid.append(await self._pay(request, expert, who))
        except LimitError:
            await self.give_back(paid)
            raise
        return paid

    async def give_back(self, paid: Sequence[Paid]) -> None:
        """All of it."""
        for each in paid:
            await self._refund(each)

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

    async def _note(self, kind: str, who: Who) -> None:
        """For the study: what is done with the answer that somebody means, if there is one."""
        if self.desk.agreements.study is None:
            return
        last = await self.core.last(who.platform, who.asker, who.place)
        job = who.reply_to or (last.job.id if last else None)
        if job is not None:
            await self.desk.agreements.event(kind, job, platform=who.platform, asker=who.asker)

    async def _with_place_style(
        self, command: Generate | Again | Continue, who: Who
    ) -> Generate | Again | Continue:
        """The place's default style, where the request itself calls for nobody."""
        if not isinstance(command, Generate) or command.options.style:
            return command
        style = (await self.place(who)).style
        names = [expert.name for expert in self.registry.of_command(command.command)]
        if style not in names:
            return command
        if route(command.command, command.text, None, self.registry).rule != "default":
            return command
        return replace(command, options=replace(command.options, style=style))

    async def _moderate(
        self,
        command: Generate | Again | Continue,
        request: Request,
        expert: Expert,
        who: Who,
        job: str | None,
    ) -> None:
        """Input and prompt; without a job nothing that passes is noted. Raises RefusedError."""
        contents = []
        if isinstance(command, Generate | Continue) and command.text:
            typed = Content(text=command.text, command=request.command, medium=expert.medium)
            contents.append((Stage.INPUT, typed))
        prompt = request.text
        if expert.medium == "text":
            prompt, _ = assemble(expert.template.text, request.text, request.beginning)
        whole = Content(text=prompt, command=request.command, medium=expert.medium)
        await self.guard.admit([*contents, (Stage.PROMPT, whole)], who, job)

    async def _pay(self, request: Request, expert: Expert, who: Who) -> Paid:
        """Take the cost. Raises LimitError with an honest wait."""
        most = self.settings.asker_waiting
        waiting = await self.desk.under_way(who.platform, who.asker)
        if most and len(waiting) >= most:
            raise LimitError(words("talk.too_many", who.locale, count=len(waiting)))
        cost = (
            self.settings.picture_cost * (request.count or 1) if expert.medium == "image" else 1.0
        )
        place = None if who.private else who.place
        soon = await self.desk.quotas.take(who.platform, who.asker, place, cost)
        if soon is not None:
            key = "talk.wait_place" if soon.place else "talk.wait"
            raise LimitError(words(key, who.locale, wait=render.seconds(max(1.0, soon.seconds))))
        return Paid(who, cost)

    async def _refund(self, paid: Paid) -> None:
        place = None if paid.who.private else paid.who.place
        await self.desk.quotas.give_back(paid.who.platform, paid.who.asker, place, paid.cost)

    def _with_note(
        self, event: Event | Said, command: Generate | Again | Continue, who: Who, told: str = ""
    ) -> Event | Said:
        """A kind word beside an answer to what was not English; and what else there is to tell."""
        text = "" if isinstance(command, Again) else command.text
        if isinstance(event, Finished) and told:
            event = replace(event, notes=(*event.notes, told))
        if isinstance(event, Finished) and not looks_english(text):
            return replace(event, notes=(*event.notes, words("talk.english", who.locale)))
        return event

    async def footer(self, final: Finished, who: Who | str = "en") -> str:
        """Below an answer: what to know about it, who wrote it and why, and that a machine did."""
        told = await self.core.answer(final.job)
        expert = self.registry.named(told.route.expert) if told else None
        if told is None or expert is None:
            return render.AI_LINE
        if told.route.rule.startswith(f"{ARM}:"):
            locale = who.locale if isinstance(who, Who) else who
            return "\n".join([*final.notes, words("experiment.footer", locale, ai=render.AI_LINE)])
        reason = ""
        if told.route.rule == "forced" and isinstance(who, Who):
            style = (await self.place(who)).style
            if told.request.style == style and "--style" not in told.request.typed:
                reason = words("talk.default_style", who.locale)
        line = render.footer(
            final, expert, told.route, self.registry.weights(expert), reason=reason
        )
        if expert.label.startswith(render.AI_LINE):  # said once is enough
            line = line.removeprefix(f"{render.AI_LINE} · ")
        return "\n".join([*final.notes, *([expert.label] if expert.label else []), line])

    async def follow(self, job: str, who: Who | None = None) -> AsyncGenerator[Event | Said]:
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
                    yield event
        finally:
            self.let_go(job)

    async def answer(self, who: Who) -> Answer:
        """The answer that somebody means: replied to, or their last one here. Raises AskerError."""
        return await meant(who, self.core)

    async def left(self, platform: str, place: str, within: Sequence[str] = ()) -> None:
        """The bot was sent away from a group, or a server with these channels: it lets go of them."""
        await self.desk.leave(platform, place, within)

    async def seen(self, platform: str, update: str | int) -> bool:
        """Whether an update was taken before; from now on it was."""
        return await self.desk.seen(platform, str(update))

    async def place(self, who: Who) -> Place:
        """The settings of the place."""
        return await self.desk.house.place(who.platform, who.place)

    async def listens(self, who: Who) -> bool:
        """Whether to answer here without being mentioned: the operator and the place both say so."""
        return self.settings.message_content and (await self.place(who)).talk_on

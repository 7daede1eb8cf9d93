"""Short questionnaires in chat, one question a message, answered by buttons, in place.

A button holds the enrolment, the question's place and the choice's number, so that it works after a
restart and in any process. What was about to be asked for when the questions came goes on after them.
"""

import time
from typing import TYPE_CHECKING

from bot.locales import words
from bot.messages.buttons import Button, Press, Rows, Verb, button
from bot.messages.grammar import Command
from bot.service.dispatch_table import GoOn
from bot.service.rate_limit import Bounded
from bot.service.request import Reply, Who
from bot.study.debrief import START, Debriefs
from engine.errors import AskerError
from engine.study.experiments.questions import NO_ANSWER, Asked

if TYPE_CHECKING:
    from engine.process.services import Services
    from engine.study.consent.participants import Person
    from engine.study.experiments.enrolment import Enrolled

INSTRUMENTS = {"b": "before", "a": "after", "r": "rating"}
WIDE = 12  # a choice with longer words than this has a row of its own
PENDING_SECONDS = 1800.0
MOST = 1_000


class Questions:
    """Ask the questions of experiments, and remember what was asked for when they came."""

    def __init__(self, services: "Services", debriefs: Debriefs) -> None:
        self._services = services
        self.debriefs = debriefs
        self._pending = Bounded[tuple[str, str], tuple[float, Command, Who]](MOST)

    async def before(
        self, enrolled: "Enrolled", person: "Person", command: Command, who: Who
    ) -> Reply | None:
        """Ask the first question that comes before; the command goes on after the last."""
        asked = await self._services.study.questionnaires.next(enrolled, "before", person)
        if asked is None:
            return None
        self._pending[who.account] = (time.monotonic(), command, who)
        title = enrolled.experiment.said("title", who.locale)
        facts = {"title": title, "count": len(enrolled.experiment.before)}
        opening = words("questions.before", who.locale, **facts)
        return _question(enrolled, "before", asked, who, opening=opening)

    async def rating(self, job: str, who: Who) -> Reply | None:
        """Ask how an answer was, after one of an experiment that wants to know; or offer its end."""
        study = self._services.study_services
        name = await study.exposures.of_answer(job) if study is not None and job else None
        seen = await study.exposures.get(name) if study is not None and name else None
        if study is None or seen is None or seen.state == "void":
            return await self.debriefs.offer(who)
        experiment = study.experiments.named(seen.experiment or "")
        person = await self._services.participant(who)
        if experiment is None or person is None or seen.pseudonym not in person.accounts:
            return None
        enrolled = await study.experiments.enrolled(experiment, person.root)
        if enrolled is None or experiment.rating is None:
            return await self.debriefs.offer(who)
        asked = study.questionnaires.asked(enrolled, "rating")[0]
        return _question(enrolled, "rating", asked, who, about=seen.id)

    async def answered(self, press: Press, who: Who) -> Reply | GoOn:
        """Take one answer; give the next question or what comes after the last. Raises AskerError."""
        study = self._services.study_services
        letter, _, rest = press.argument.partition(".")
        instrument = INSTRUMENTS.get(letter[:1], "")
        found = await study.experiments.by_enrolment(press.job) if study is not None else None
        person = await self._services.participant(who)
        if study is None or found is None or not instrument:
            raise AskerError(words("questions.expired", who.locale))
        enrolled, pseudonym = found
        mine = {*person.accounts, person.root, person.place} if person is not None else set()
        if person is None or not {pseudonym, enrolled.unit} & mine:
            raise AskerError(words("questions.not_yours", who.locale))
        if rest != START:
            choice, _, about = rest.partition(".")
            place = int(letter[1:]) if letter[1:].isdecimal() else -1
            given = place, choice, about or None
            if await study.questionnaires.answer(enrolled, instrument, person, *given) is None:
                raise AskerError(words("questions.expired", who.locale))
        if instrument == "rating":
            rows = await self.debriefs.rows(person, who)
            return Reply(words("questions.thanks", who.locale), replaces=True, rows=rows)
        seen = await study.exposures.count(person, enrolled.experiment.id)
        through = instrument == "before" or seen >= enrolled.experiment.exposures
        asked = await study.questionnaires.next(enrolled, instrument, person) if through else None
        if asked is not None:
            return _question(enrolled, instrument, asked, who, replaces=True)
        if instrument == "after":
            if through and not enrolled.completed:
                await study.experiments.completed(enrolled)
                await self._exclude(enrolled, person)
            return await self.debriefs.end(enrolled, person, who)
        # go on with what they had asked for, if it is not too long ago
        at, command, asker = self._pending.pop(who.account, (0.0, None, who))
        if command is None or time.monotonic() - at > PENDING_SECONDS:
            return Reply(words("questions.go_on", who.locale), replaces=True)
        return GoOn(command, asker)

    async def _exclude(self, enrolled: "Enrolled", person: "Person") -> None:
        """Exclude by the rules that the file wrote down before."""
        study, rules = self._services.study, enrolled.experiment.exclude
        votes = await study.exposures.votes_of(person, enrolled.experiment.id)
        if rules.faster_seconds and any(v.seconds < rules.faster_seconds for v in votes):
            reason = f"a vote within {rules.faster_seconds:g} seconds"
            await study.experiments.exclude(enrolled, reason)
        elif rules.unblinded and any(vote.unblinded for vote in votes):
            await study.experiments.exclude(enrolled, "a model named itself")


def _question(
    enrolled: "Enrolled",
    instrument: str,
    asked: Asked,
    who: Who,
    *,
    opening: str = "",
    about: str = "",
    replaces: bool = False,
) -> Reply:
    head = f"{instrument[0]}{asked.place}"
    tail = f".{about}" if about else ""

    def choice(name: str, label: str) -> Button:
        return button(Verb.ANSWER, enrolled.id, f"{head}.{name}{tail}", label=label)

    labels = [asked.question.label(value, who.locale) for value in asked.values]
    buttons = [choice(str(n), label) for n, label in enumerate(labels)]
    wide = any(len(label) > WIDE for label in labels)
    rows: Rows = tuple((one,) for one in buttons) if wide else (tuple(buttons),)
    if wide and len(rows) > 4:
        rows = tuple(tuple(buttons[start : start + 3]) for start in range(0, len(buttons), 3))
    if not asked.question.required:
        rows = (*rows, (choice(NO_ANSWER, words("questions.none", who.locale)),))
    text = "\n\n".join(part for part in (opening, asked.question.words(who.locale)) if part)
    return Reply(text, rows=rows, replaces=replaces)

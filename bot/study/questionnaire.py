"""Questionnaires in chat, one question a message, answered in place by buttons or by typing.

A button holds the enrolment (or what is rated in a flow), the question's place, the choices' numbers and
the job of a rated answer, so that it works after a restart, in any process, and leads to no row when the
study's key is gone. What was about to be asked for goes on after the questions.
"""

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bot.locales import words
from bot.messages.buttons import Button, Press, Rows, Verb
from bot.messages.grammar import Command
from bot.messages.split import joined
from bot.service.dispatch_table import GoOn
from bot.service.rate_limit import Bounded
from bot.service.request import Reply, Who
from bot.study.debrief import Debriefs
from engine.errors import AskerError
from engine.study.experiments.questions import NO_ANSWER, Asked

if TYPE_CHECKING:
    from engine.process.services import Services
    from engine.study.consent.participants import Person
    from engine.study.experiments.enrolment import Enrolled

INSTRUMENTS = {"b": "before", "a": "after", "r": "rating"}
HEAD = re.compile(r"(?:(?P<letter>[bar])|s(?P<step>\d{1,2})-|(?P<rate>e))(?P<place>\d{0,2})", re.A)
NUMBER = re.compile(r"[\W_]{0,3}\d[\d\W_]{0,20}")
WIDE = 12  # a choice with longer words than this has a row of its own
PENDING_SECONDS = 1800.0
MOST = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """Hold what a press is about: whose question of which instrument, and the answer to it."""

    enrolled: "Enrolled"
    person: "Person"
    instrument: str
    place: int = -1
    choice: str = ""
    about: str = ""

    @property
    def rates(self) -> bool:
        return bool(self.about) and self.enrolled.experiment.task == "flow"

    def press(self, choice: str) -> Press:
        if self.rates:
            return Press(Verb.ANSWER, self.about, f"e{self.place}.{choice}")
        letter = next((x for x, name in INSTRUMENTS.items() if name == self.instrument), "")
        ids = [step.id for step in self.enrolled.experiment.steps]
        head = letter or f"s{ids.index(self.instrument)}-"
        tail = f".{self.about}" if self.about else ""
        return Press(Verb.ANSWER, self.enrolled.id, f"{head}{self.place}.{choice}{tail}")


class Questions:
    """Ask the questions of experiments, and remember what was asked for when they came."""

    def __init__(self, services: "Services", debriefs: Debriefs) -> None:
        self._services = services
        self.debriefs = debriefs
        self._pending = Bounded[tuple[str, str], tuple[float, Command, Who]](MOST)
        self._open = Bounded[tuple[str, str], tuple[float, str, Any]](MOST)
        self._asked = Bounded[tuple[str, str], tuple[float, Press, str, bool]](MOST)

    async def before(
        self, enrolled: "Enrolled", person: "Person", command: Command, who: Who
    ) -> Reply | None:
        """Ask the first question that comes before; the command goes on after the last."""
        if enrolled.experiment.task == "flow":
            return None
        asked = await self._services.study.questionnaires.next(enrolled, "before", person)
        if asked is None:
            return None
        self._pending[who.account] = (time.monotonic(), command, who)
        title = enrolled.experiment.said("title", who.locale)
        facts = {"title": title, "count": len(enrolled.experiment.before)}
        opening = words("questions.before", who.locale, **facts)
        meant = Meant(enrolled=enrolled, person=person, instrument="before")
        return self.show(meant, asked, who, opening=opening)

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
        mine = {one.experiment.id: one for one in await study.experiments.of_person(person)}
        enrolled, running = mine.get(experiment.id), await study.experiments.running(experiment)
        if enrolled is None or experiment.rating is None or not running:
            return await self.debriefs.offer(who)
        meant = Meant(enrolled=enrolled, person=person, instrument="rating", about=job)
        return self.show(meant, study.questionnaires.asked(enrolled, "rating")[0], who)

    def asks(self, who: Who, again: Callable[[Who], Awaitable[Reply]] | None = None) -> None:
        """Keep how to show again the guess, pair or form before somebody; nothing, once it is done."""
        self._open[who.account] = (time.monotonic(), who.place, again)

    async def again(self, who: Who) -> Reply | None:
        at, place, again = self._open.get(who.account, (0.0, "", None))
        late = time.monotonic() - at > PENDING_SECONDS
        return None if again is None or late or place != who.place else await again(who)

    def show(
        self, meant: Meant, asked: Asked, who: Who, *, opening: str = "", replaces: bool = False
    ) -> Reply:
        """Show a question; what is typed next answers it, if it is one to be typed."""
        at = self._services.ledger.clock()
        one = replace(meant, place=asked.place)
        typed = asked.question.typed
        self._asked[who.account] = (at, one.press(NO_ANSWER), who.place, typed)
        hint = words(f"questions.type_{asked.question.kind}", who.locale) if typed else ""
        text = joined(opening, asked.question.words(who.locale), hint)
        return Reply(text, rows=_choices(one, asked, who), replaces=replaces, typed=typed)

    def typing(self, who: Who) -> Press | None:
        """Give the press that the next words of somebody stand for, if a question waits for words."""
        _, press, place, typed = self._asked.get(who.account, (0.0, None, "", False))
        here = typed and place == who.place and not (who.borrowed or who.reply_to)
        return press if here else None

    async def numbered(self, text: str, who: Who) -> Press | Reply | None:
        """Take a number typed at a question of buttons for the choice of that name, or ask again."""
        at, last, place, _ = self._asked.get(who.account, (0.0, None, "", False))
        late = self._services.ledger.clock() - at > PENDING_SECONDS
        if last is None or late or place != who.place:
            return None
        try:
            meant = await self.meant(last, who)
        except AskerError:  # it is over, and waits for nothing
            return None
        every = self._services.study.questionnaires.asked(meant.enrolled, meant.instrument)
        asked, said = next(one for one in every if one.place == meant.place), text.strip(" %")
        if said in asked.values and asked.question.kind != "multiple":
            return meant.press(str(asked.values.index(said)))
        return self.show(meant, asked, who, opening=words("questions.not_so", who.locale))

    def toggled(self, meant: Meant, who: Who) -> Reply:
        every = self._services.study.questionnaires.asked(meant.enrolled, meant.instrument)
        asked = next((one for one in every if one.place == meant.place), None)
        if asked is None or asked.question.kind != "multiple":
            raise AskerError(words("questions.expired", who.locale))
        rows = _choices(meant, asked, who, meant.choice[1:])
        return Reply(asked.question.words(who.locale), rows=rows, replaces=True)

    async def take(self, meant: Meant, press: Press, typed: str | None, who: Who) -> "Enrolled":
        study = self._services.study
        at, last, _, _ = self._asked.get(who.account, (0.0, None, "", False))
        heads = [one.argument.partition(".")[0] for one in (last, press) if one is not None]
        if meant.rates:  # who presses has it, though the platform's word may be on its way still
            await study.exposures.delivered(meant.about)
        same = last is not None and last.job == press.job and heads[0] == heads[1]
        about = meant.about if meant.rates else await study.exposures.of_answer(meant.about)
        if meant.about and about is None:
            raise AskerError(words("questions.expired", who.locale))
        asked = await study.questionnaires.answer(
            meant.enrolled,
            meant.instrument,
            meant.person,
            meant.place,
            meant.choice,
            about,
            typed=typed,
            seconds=max(0.0, self._services.ledger.clock() - at) if same else None,
        )
        if asked is None:
            key = "questions.expired" if typed is None else "questions.not_so"
            raise AskerError(words(key, who.locale))
        self._asked.pop(who.account, None)
        return await study.flow.answered(meant.enrolled, asked, meant.person)

    def waiting(self, who: Who) -> GoOn | None:
        """Give what somebody had asked for when the questions came, if it is not too long ago."""
        at, command, asker = self._pending.pop(who.account, (0.0, None, who))
        late = time.monotonic() - at > PENDING_SECONDS
        return None if command is None or late else GoOn(command, asker)

    async def meant(self, press: Press, who: Who) -> Meant:
        """Find what a press is about. Raises AskerError for what is over, or another's."""
        study, person = self._services.study_services, await self._services.participant(who)
        head, _, rest = press.argument.partition(".")
        found = HEAD.fullmatch(head)
        over = AskerError(words("questions.expired", who.locale))
        if study is None or found is None:
            raise over
        choice, _, about = rest.partition(".")
        enrolled, owner, instrument = None, "", INSTRUMENTS.get(found["letter"] or "", "")
        if found["rate"]:
            seen = await study.exposures.get(press.job)
            if seen is None or seen.state not in ("made", "delivered") or person is None:
                raise over
            owner, about, instrument = seen.pseudonym, seen.id, seen.step
            mine = await study.experiments.of_person(person)
            enrolled = next((one for one in mine if one.experiment.id == seen.experiment), None)
        elif (known := await study.experiments.by_enrolment(press.job)) is not None:
            enrolled, owner = known
            steps = enrolled.experiment.steps
            if found["step"]:
                number = int(found["step"])
                instrument = steps[number].id if number < len(steps) else ""
        if enrolled is None or not instrument:
            raise over
        ours = {*person.accounts, person.root, person.place} if person is not None else set()
        if person is None or not {owner, enrolled.unit} & ours:
            raise AskerError(words("questions.not_yours", who.locale))
        return Meant(
            enrolled=enrolled,
            person=person,
            instrument=instrument,
            place=int(found["place"] or -1),
            choice=choice,
            about=about,
        )


def _choices(meant: Meant, asked: Asked, who: Who, taken: str = "") -> Rows:
    """Lay out the choices; those of several are toggled, and a last button takes them."""
    several = asked.question.kind == "multiple"
    chosen = {int(part) for part in taken.split("-") if part.isdecimal()}

    def choice(argument: str, label: str) -> Button:
        return Button(label, meant.press(argument))

    labels = [asked.question.label(value, who.locale) for value in asked.values]
    buttons = []
    for number, label in enumerate(labels):
        left = "-".join(str(n) for n in sorted(chosen ^ {number}))
        mark = "✓ " if number in chosen else ""
        buttons.append(choice(f"t{left}" if several else str(number), mark + label))
    wide = any(len(label) > WIDE for label in labels)
    rows: Rows = tuple((one,) for one in buttons) if wide else (tuple(buttons),)
    if wide and len(rows) > 4:
        rows = tuple(tuple(buttons[start : start + 3]) for start in range(0, len(buttons), 3))
    if chosen:
        done = "-".join(str(n) for n in sorted(chosen))
        rows = (*rows, (choice(done, words("questions.taken", who.locale)),))
    if not asked.question.required:
        rows = (*rows, (choice(NO_ANSWER, words("questions.none", who.locale)),))
    return tuple(row for row in rows if row)

"""/guess: a passage, by a person or by a model? How sure? Then what it was, and the score."""

import asyncio
import random
import time
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bot.locales import spoken, words
from bot.messages.buttons import Press, Rows, Verb, button
from bot.messages.escape import defang
from bot.messages.grammar import Simple
from bot.messages.split import joined
from bot.service.rate_limit import Bounded
from bot.service.request import Reply, Who
from bot.study.debrief import score_words
from bot.study.pair import shown_item
from engine.errors import AskerError
from engine.ledger.ledger import new_id
from engine.study.experiments.eligibility import Candidate
from engine.study.experiments.exposures import OPEN_SECONDS
from engine.study.experiments.passages import CONFIDENCES, KINDS, Item, score_of, shipped

if TYPE_CHECKING:
    from bot.study.questionnaire import Questions
    from engine.process.services import Services
    from engine.study.consent.participants import Person
    from engine.study.experiments.experiment import Experiment

GUESS = "guess:"  # begins a receipt
MOST = 2_000


@dataclass(slots=True)
class Guess:
    id: str
    who: Who
    item: Item
    person: "Person | None" = None
    experiment: "Experiment | None" = None
    made: float = field(default_factory=time.monotonic)
    over: bool = False
    practice: bool = False

    @property
    def reveal(self) -> str:
        return self.experiment.reveal if self.experiment and not self.practice else "each"


class GuessGame:
    """Play /guess. What people who do not take part have had is known until the process ends."""

    def __init__(self, services: "Services", questions: "Questions") -> None:
        self._services = services
        self._questions = questions
        self._open = Bounded[str, Guess](MOST)
        self._played = Bounded[tuple[str, str], list[tuple[str, str, str]]](MOST)

    async def guess(self, who: Who) -> Reply:
        """Show the next passage; the questions before it come first. Raises AskerError."""
        person = await self._services.participant(who)
        experiment, expert = None, ""
        if person is not None:
            enrolled = await self._services.study.enrolled(person, who, Candidate(task="guess"))
            if enrolled is not None:
                first = await self._questions.before(enrolled, person, Simple(name="guess"), who)
                if first is not None:
                    return first
                experiment = enrolled.experiment
                expert = next((arm.expert for arm in enrolled.arms), "")
        item = await self._draw(person, expert, who)
        if item is None:
            raise AskerError(words("guess.none_left", who.locale))
        made = Guess(new_id(), who, item, person, experiment)
        if person is not None:
            shown = [{"item": item.id, "kind": item.kind, "expert": item.expert}]
            of: dict[str, Any] = {"seed": 0, "experiment": experiment, "item": item.id}
            exposures = self._services.study.exposures
            if not await exposures.make(made.id, person, "guess", shown=shown, **of):
                return await self.guess(who)  # drawn at the same moment somewhere else
        self._open[made.id] = made
        return await self._asked(made, who)

    async def again(self, name: str, who: Who) -> Reply:
        """Show a guess that is on record. Raises AskerError."""
        guess = self._open.get(name) or await self._recalled(name, who)
        if guess is None:
            raise AskerError(words("guess.expired", who.locale))
        said = await self._asked(guess, who)
        return replace(said, replaces=not said.pictures)

    async def _asked(self, guess: Guess, who: Who) -> Reply:
        text, pictures = await shown_item(self._services, guess.item)
        self._questions.asks(who, partial(self.again, guess.id))
        if guess.person is not None:
            visible = {"platform": who.platform}
            await self._services.study.exposures.compose(guess.id, [], [], visible)
        notice = words(f"guess.notice_{guess.reveal}", who.locale)
        kinds = (
            button(Verb.GUESS, guess.id, k, label=words(f"guess.{k}", who.locale)) for k in KINDS
        )
        return Reply(
            joined(words("guess.ask", who.locale), defang(text), notice),
            rows=(tuple(kinds),),
            pictures=pictures,
            literal=True,
            receipt=f"{GUESS}{guess.id}",
        )

    async def _draw(self, person: "Person | None", expert: str, who: Who) -> Item | None:
        if person is not None:
            return await self._services.study.passages.draw(person, expert)
        had = {name for name, _, _ in self._played.get(who.account, [])}
        waiting = {g.item.id for g in self._open.values() if g.who.account == who.account}
        left = [item for item in await asyncio.to_thread(shipped) if item.id not in had | waiting]
        kind = random.choice(KINDS)
        return random.choice([i for i in left if i.kind == kind] or left or [None])

    def kind_of(self, name: str) -> str:
        """Tell what an open guess is about: for simulated people, who know it better than chance."""
        return self._open[name].item.kind

    async def receipt(self, name: str, shown: bool) -> None:
        guess = self._open.get(name) if shown else self._open.pop(name, None)
        if guess is not None and guess.person is not None:
            exposures = self._services.study.exposures
            await (exposures.delivered(name) if shown else exposures.void(name, "undelivered"))

    async def pressed(self, press: Press, who: Who) -> Reply:
        """Take what it is, then how sure; the second is the guess. Raises AskerError."""
        guess = self._open.get(press.job) or await self._recalled(press.job, who)
        if guess is None or time.monotonic() - guess.made > OPEN_SECONDS:
            raise AskerError(words("guess.expired", who.locale))
        if guess.who.account != who.account:
            raise AskerError(words("guess.not_yours", who.locale))
        if guess.over:
            raise AskerError(words("guess.over", who.locale))
        said, _, sure = press.argument.partition(".")
        if said not in KINDS:
            raise AskerError(words("guess.expired", who.locale))
        item = guess.item
        text = f"“{defang(item.text)}”" if item.text else ""
        if not sure:
            asked = words("guess.sure", who.locale, said=words(f"guess.{said}", who.locale))
            return _placed(joined(text, asked), guess, _confidences(guess, said))
        if not sure.isdecimal() or int(sure) not in CONFIDENCES:
            raise AskerError(words("guess.expired", who.locale))
        return await self._count(guess, said, int(sure), text, who)

    async def _count(self, guess: Guess, said: str, sure: int, text: str, who: Who) -> Reply:
        item = guess.item
        person = await self._services.participant(who) if guess.person is not None else None
        if person is not None:
            study = self._services.study
            await study.exposures.delivered(guess.id)
            done = await study.exposures.vote(
                guess.id, person, said, confidence=sure, reveal=True, practice=guess.practice
            )
            if not done:
                raise AskerError(words("guess.expired", who.locale))
            score = await study.passages.score(person)
        else:
            played = [*self._played.get(who.account, []), (item.id, item.kind, said)]
            self._played[who.account] = played
            score = score_of([(kind, answer) for _, kind, answer in played])
        guess.over = True
        self._questions.asks(who)
        source = {n: spoken(getattr(item, n), who.locale) for n in ("source", "licence")}
        parts = [
            words("guess.right" if said == item.kind else "guess.wrong", who.locale),
            words(f"guess.was_{item.kind}", who.locale, **source),
            score_words(score, who),
            "" if person is not None else words("compare.not_kept", who.locale),
        ]
        if guess.reveal != "each":
            parts = [words("guess.noted", who.locale, said=words(f"guess.{said}", who.locale))]
        more = button(Verb.MORE, guess.id, "guess", label=words("guess.more", who.locale))
        rows = await self._questions.debriefs.rows(person, who)
        flowing = guess.experiment is not None and guess.experiment.task == "flow"
        return _placed(joined(text, *parts), guess, rows if flowing else ((more,), *rows))

    async def _recalled(self, name: str, who: Who) -> Guess | None:
        """Restore one of before a restart from the record."""
        study = self._services.study_services
        seen = await study.exposures.get(name) if study is not None else None
        if study is None or seen is None or seen.kind != "guess" or seen.age > OPEN_SECONDS:
            return None
        person = await self._services.participant(who)
        if person is None or seen.pseudonym not in person.accounts:
            raise AskerError(words("guess.not_yours", who.locale))
        wanted = seen.shown[0]["item"]
        item = study.stimuli.named(wanted)
        if item is None:
            item = next((i for i in await study.passages.pool() if i.id == wanted), None)
        if item is None:
            return None
        experiment = study.experiments.named(seen.experiment or "")
        step = experiment.step_named(seen.step) if experiment and seen.step else None
        practice = step is not None and step.practice
        guess = Guess(name, who, item, person, experiment, over=seen.revealed, practice=practice)
        self._open[name] = guess
        return guess


def _placed(text: str, guess: Guess, rows: Rows) -> Reply:
    return Reply(text, rows=rows, replaces=True, literal=True, caption=bool(guess.item.picture))


def _confidences(guess: Guess, said: str) -> Rows:
    sure = tuple(button(Verb.GUESS, guess.id, f"{said}.{n}", label=str(n)) for n in CONFIDENCES)
    other = next(kind for kind in KINDS if kind != said)
    label = words(f"guess.rather_{other}", guess.who.locale)
    back = button(Verb.GUESS, guess.id, other, label=label)
    return (sure[:3], sure[3:], (back,))

"""The end of an experiment for one person: who is through with it, and what they are told then."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from bot.locales import words
from bot.messages.buttons import Rows, Verb, button
from bot.messages.split import joined
from bot.service.rate_limit import REMEMBERED, Repeats
from bot.service.request import Reply, Who
from engine.ledger.ledger import new_id
from engine.study.experiments.eligibility import Candidate
from engine.study.experiments.enrolment import FULL
from engine.study.experiments.passages import KINDS, Score, score_of

if TYPE_CHECKING:
    from bot.service.context import Context
    from engine.study.consent.participants import Person
    from engine.study.experiments.enrolment import Enrolled

START, BEGIN = "start", "begin"
OFFERED = 86400.0  # seconds until the button is shown again by itself
MOST_LISTED = 20  # judgements of which each is told


class Debriefs:
    """Offer the end to everybody who saw all, or whose experiment is over; each is told once."""

    def __init__(self, context: "Context") -> None:
        self._context = context
        self._offered = Repeats(REMEMBERED)

    async def rows(self, person: "Person | None", who: Who) -> Rows:
        if person is None:
            return ()
        study = self._context.services.study
        flows = [await study.flow.current(person, invited=one) for one in (False, True)]
        due = {"questions.finish": await study.due(person), "flow.on": [f for f in flows if f]}
        return tuple(
            (button(Verb.ANSWER, one.id, f"a.{START}", label=words(key, who.locale)),)
            for key, found in due.items()
            for one in found
        )

    async def begins(self, who: Who, *, invited: bool = False) -> Rows:
        """Give the button that begins a flow, or goes on in it, where there is one for somebody."""
        person = await self._context.services.participant(who) if who.alone else None
        if person is None:
            return ()
        study = self._context.services.study
        asking = Candidate(task="flow", invited=invited)
        if not (study.experiments.fitting(who, asking) or await study.flow.current(person)):
            return ()
        return ((button(Verb.MORE, new_id(), BEGIN, label=words("flow.begin", who.locale)),),)

    async def offer(self, who: Who) -> Reply | None:
        """Ask after an answer, where nothing else leads to the end; once a day. Tell, if all is over."""
        if await self._context.services.agreements.closed():
            told = await self.all_told(who) if who.alone else []  # it lists what they judged
            return Reply(joined(*told), private=True) if told else None
        if self._offered.lately(who.account, OFFERED):
            return None
        rows = await self.rows(await self._context.services.participant(who), who)
        if not rows:
            return None
        self._offered.new(who.account)
        return Reply(words("questions.enough", who.locale), rows=rows, private=True)

    async def end(self, enrolled: "Enrolled", person: "Person", who: Who) -> Reply:
        experiment, code = enrolled.experiment, "" if enrolled.excluded == FULL else enrolled.code
        end = "flow.full" if enrolled.excluded == FULL else "questions.end"
        link = ""
        if experiment.return_link and enrolled.excluded != FULL:
            panel = quote(await self._context.services.study.panel.of(person), safe="")
            link = experiment.return_link.replace("{code}", code).replace("{panel}", panel)
        parts = [
            words(end, who.locale, title=experiment.said("title", who.locale)),
            await self.told(enrolled, person, who),
            words("questions.code", who.locale, code=code) if code else "",
            words("flow.link", who.locale, link=link) if link else "",
        ]
        return Reply(joined(*parts), replaces=True, private=True)

    async def all_told(self, who: Who) -> list[str]:
        """Tell everything that is not told yet, to somebody who leaves."""
        study = self._context.services.study_services
        person = await study.person(who, leaving=True) if study is not None else None
        if study is None or person is None:
            return []
        return [await self.told(one, person, who) for one in await study.due(person, leaving=True)]

    async def told(self, enrolled: "Enrolled", person: "Person", who: Who) -> str:
        experiment, services = enrolled.experiment, self._context.services.study
        arms = ", ".join(arm.name for arm in experiment.arms)
        said = experiment.said("debrief", who.locale)
        if not said and not experiment.annotators:
            title = experiment.said("title", who.locale)
            said = words("questions.debrief", who.locale, title=title, arms=arms)
        await services.questionnaires.debriefed(experiment.id, person)
        if experiment.reveal != "end" or experiment.task == "single":
            return said
        judged = await services.exposures.shown_to(person, experiment.id)
        told = enumerate((self._judged(row, who) for row in judged[:MOST_LISTED]), 1)
        lines = [f"{n}. {line}" for n, line in told]
        guesses = [(row.shown[0]["kind"], row.choice) for row in judged if row.choice in KINDS]
        if guesses:
            lines.append(score_words(score_of(guesses), who))
        return "\n".join([said, "", *lines]) if judged else said

    def _judged(self, row: Any, who: Who) -> str:
        if row.choice in KINDS:
            kinds = (row.shown[0]["kind"], row.choice)
            was, said = (words(f"guess.{kind}", who.locale) for kind in kinds)
            return words("guess.line", who.locale, was=was, said=said)
        a, b = (self.writer(facts, who) for facts in row.shown[:2])
        choice = words(f"compare.{row.choice}", who.locale)
        return words("compare.line", who.locale, a=a, b=b, choice=choice)

    def writer(self, facts: dict[str, Any], who: Who) -> str:
        expert = self._context.registry.named(facts.get("expert", ""))
        kind = "base" if facts.get("plain") else "expert"
        title = expert.title if expert else facts["arm"]
        return words(f"compare.{kind}", who.locale, expert=title)


def score_words(score: Score, who: Who) -> str:
    told = words("guess.score", who.locale, right=score.right, guesses=score.guesses)
    if score.dprime is None:
        return told
    return told + " " + words("guess.dprime", who.locale, dprime=f"{score.dprime:.2f}")

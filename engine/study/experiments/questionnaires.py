"""Answers to questionnaires: what is still to be asked of somebody, and what they said."""

from typing import Any

import sqlalchemy as sa
from ulid import ULID

from engine.study.consent.participants import Person
from engine.study.experiments.enrolment import Enrolled
from engine.study.experiments.experiment import Experiment
from engine.study.experiments.exposures import TICK
from engine.study.experiments.questions import NO_ANSWER, TYPED, Asked, holds, ordered
from engine.study.experiments.steps import Step, in_order
from engine.study.experiments.tables import Exposure, QuestionnaireAnswer
from engine.study.interactions import unnamed
from engine.study.study import StudyService

Said = dict[tuple[str, str], str | None]
Last = dict[tuple[str, str, str | None], str | None]  # by instrument, question, what it is about
DEBRIEF = "debrief"  # the instrument, and question, by which it is on record that somebody was told


class Questionnaires(StudyService):
    def asked(self, enrolled: Enrolled, instrument: str) -> tuple[Asked, ...]:
        """List the questions of an instrument, which is a step, in this unit's order."""
        step = enrolled.experiment.step_named(instrument)
        if step is None:
            return ()
        name = f"{enrolled.experiment.id}|{instrument}|{enrolled.unit}"
        return ordered(self._study.needed_key(), name, step.questions, shuffle=step.shuffle)

    async def said(self, experiment: str, person: Person, about: str | None = None) -> Said:
        """Collect the last answers by (instrument, question), those about one thing too."""
        found = await self._last(experiment, person)
        return {(at, name): said for (at, name, of), said in found.items() if of in (None, about)}

    async def failed(self, experiment: Experiment, person: Person) -> int:
        """Count the attention checks that were answered otherwise, beside items too."""
        steps = [step for step in experiment.steps if not step.practice]
        checks = {(s.id, q.id): q.check for s in steps for q in s.questions if q.check}
        found = await self._last(experiment.id, person) if checks else {}
        return sum(checks.get((at, name), said) != said for (at, name, _), said in found.items())

    async def _last(self, experiment: str, person: Person) -> Last:
        row = QuestionnaireAnswer
        mine = row.study == self._study.id, row.pseudonym.in_(person.accounts)
        query = sa.select(row.instrument, row.question, row.about, row.value).where(*mine)
        query = query.where(row.experiment == experiment).order_by(row.at, row.id)
        rows = await self._database.rows(query)
        return {(at, name, about): said for at, name, about, said in rows}

    async def next(
        self, enrolled: Enrolled, instrument: str, person: Person, about: str | None = None
    ) -> Asked | None:
        """Find the first question that is not answered, and is asked after what was."""
        said = await self.said(enrolled.experiment.id, person, about)
        return self.first(enrolled, instrument, said)

    def first(self, enrolled: Enrolled, instrument: str, said: Said) -> Asked | None:
        values = {question: value for (_, question), value in said.items()}
        left = (
            a for a in self.asked(enrolled, instrument) if (instrument, a.question.id) not in said
        )
        return next((asked for asked in left if holds(asked.question.when, values)), None)

    async def told(self, person: Person) -> set[str]:
        row = QuestionnaireAnswer
        mine = row.study == self._study.id, row.pseudonym.in_(person.accounts)
        query = sa.select(row.experiment).where(*mine, row.instrument == DEBRIEF)
        return set(await self._database.scalars(query))

    async def over(self, experiment: Experiment, person: Person) -> bool:
        """Tell whether somebody knows the arms now; annotators are told of none, and go on."""
        return not experiment.annotators and experiment.id in await self.told(person)

    async def debriefed(self, experiment: str, person: Person) -> None:
        """Put on record that somebody was told, after which nothing is judged otherwise."""
        own = sa.update(Exposure).where(
            *self._shown(experiment, person), Exposure.revealed_at.is_(None)
        )
        await self._database.change(own.values(revealed_at=self._database.clock()))
        if experiment not in await self.told(person):
            facts = {"instrument": DEBRIEF, "question": DEBRIEF, "value": "told"}
            await self._write(experiment, person, shown={}, **facts)

    def steps(self, enrolled: Enrolled) -> list[Step]:
        name = f"{enrolled.experiment.id}|{enrolled.unit}"
        return in_order(self._study.needed_key(), name, enrolled.experiment.steps)

    async def _late(self, enrolled: Enrolled, instrument: str, person: Person) -> bool:
        """Tell whether the person was told, or something of a later step was delivered to them."""
        experiment, steps = enrolled.experiment, [step.id for step in self.steps(enrolled)]
        later = steps[steps.index(instrument) + 1 :] if instrument in steps else []
        of = *self._shown(experiment.id, person), sa.func.coalesce(Exposure.step, "").in_(later)
        query = sa.select(Exposure.id).where(*of, Exposure.delivered_at.is_not(None)).limit(1)
        over = await self.over(experiment, person)
        return over or await self._database.scalar(query) is not None

    def _shown(self, experiment: str, person: Person) -> tuple[sa.ColumnElement[bool], ...]:
        mine = Exposure.study == self._study.id, Exposure.pseudonym.in_(person.accounts)
        return *mine, Exposure.experiment == experiment

    async def answer(
        self,
        enrolled: Enrolled,
        instrument: str,
        person: Person,
        place: int,
        choice: str,
        about: str | None = None,
        *,
        typed: str | None = None,
        seconds: float | None = None,
    ) -> Asked | None:
        """Write down numbers of choices, "none", or what was `typed`; None for no such, or too late."""
        asked = next((a for a in self.asked(enrolled, instrument) if a.place == place), None)
        if asked is None:
            return None
        value = asked.read(choice) if typed is None else asked.question.read(typed)
        refused = typed is None and choice == NO_ANSWER and not asked.question.required
        if (value is None and not refused) or await self._late(enrolled, instrument, person):
            return None
        free = asked.question.kind == "text" and value is not None
        facts = {"value": TYPED if free else value, "words": unnamed(value) if free else None}
        of = {"instrument": instrument, "question": asked.question.id, "about": about}
        shown = {"place": place, "choices": list(asked.values)}
        await self._write(
            enrolled.experiment.id, person, shown=shown, seconds=seconds, **of, **facts
        )
        return asked

    async def _write(self, experiment: str, person: Person, **facts: Any) -> None:
        row = QuestionnaireAnswer
        of: dict[str, Any] = {"study": self._study.id, "experiment": experiment}
        same = sa.select(sa.func.max(row.at)).filter_by(**of, question=facts["question"])
        last = await self._database.scalar(same.where(row.pseudonym.in_(person.accounts))) or 0.0
        at = max(self._database.clock(), last + TICK)  # the clock may have jumped back
        of |= {"id": str(ULID()), "pseudonym": person.pseudonym, "at": at}
        await self._database.change(sa.insert(row).values(of | facts))

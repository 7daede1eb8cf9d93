"""Answers to questionnaires: what is still to be asked of somebody, and what they said."""

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from ulid import ULID

from engine.ledger.transactions import Database, repeated
from engine.study.experiments.questions import NO_ANSWER, Asked, ordered
from engine.study.experiments.tables import Exposure, QuestionnaireAnswer

if TYPE_CHECKING:
    from engine.study.consent.participants import Person
    from engine.study.experiments.enrolment import Enrolled
    from engine.study.study import Study


DEBRIEF = "debrief"  # the instrument, and question, by which it is on record that somebody was told


class Questionnaires:
    def __init__(self, database: Database, study: "Study") -> None:
        self._database = database
        self._study = study

    def asked(self, enrolled: "Enrolled", instrument: str) -> tuple[Asked, ...]:
        experiment = enrolled.experiment
        rating = (experiment.rating,) if experiment.rating else ()
        questions = {"before": experiment.before, "after": experiment.after, "rating": rating}
        name = f"{experiment.id}|{instrument}|{enrolled.unit}"
        return ordered(self._study.needed_key(), name, questions[instrument])

    async def next(self, enrolled: "Enrolled", instrument: str, person: "Person") -> Asked | None:
        query = sa.select(QuestionnaireAnswer.question).where(
            QuestionnaireAnswer.study == self._study.id,
            QuestionnaireAnswer.experiment == enrolled.experiment.id,
            QuestionnaireAnswer.instrument == instrument,
            QuestionnaireAnswer.pseudonym.in_(person.accounts),
        )
        answered = await self._database.scalars(query)
        questions = self.asked(enrolled, instrument)
        return next((each for each in questions if each.question.id not in answered), None)

    async def told(self, person: "Person") -> set[str]:
        """Name the experiments whose debrief the person has had."""
        row = QuestionnaireAnswer
        mine = row.study == self._study.id, row.pseudonym.in_(person.accounts)
        query = sa.select(row.experiment).where(*mine, row.instrument == DEBRIEF)
        return set(await self._database.scalars(query))

    async def debriefed(self, experiment: str, person: "Person") -> None:
        if experiment not in await self.told(person):
            facts = {"instrument": DEBRIEF, "question": DEBRIEF, "value": "told"}
            await self._write(experiment, person, shown={}, **facts)

    async def _treated(self, enrolled: "Enrolled", person: "Person") -> bool:
        query = sa.select(Exposure.id).where(
            Exposure.study == self._study.id,
            Exposure.experiment == enrolled.experiment.id,
            Exposure.pseudonym.in_(person.accounts),
            Exposure.delivered_at.is_not(None),
        )
        return await self._database.scalar(query.limit(1)) is not None

    async def answer(
        self,
        enrolled: "Enrolled",
        instrument: str,
        person: "Person",
        place: int,
        choice: str,
        about: str | None = None,
    ) -> Asked | None:
        """Write the answer down: the number of the choice as shown, or "none".

        None for no such, and for one from before the treatment once that was delivered.
        """
        asked = next((a for a in self.asked(enrolled, instrument) if a.place == place), None)
        if asked is None:
            return None
        chosen = choice.isdecimal() and int(choice) < len(asked.values)
        if not chosen and (choice != NO_ANSWER or asked.question.required):
            return None
        if instrument == "before" and await self._treated(enrolled, person):
            return None
        facts = {"instrument": instrument, "question": asked.question.id, "about": about}
        facts["value"] = asked.values[int(choice)] if chosen else None
        shown = {"place": place, "choices": list(asked.values)}
        await self._write(enrolled.experiment.id, person, shown=shown, **facts)
        return asked

    @repeated
    async def _write(self, experiment: str, person: "Person", **facts: Any) -> None:
        of = {"study": self._study.id, "experiment": experiment, "pseudonym": person.pseudonym}
        row = {"id": str(ULID()), **of, **facts, "at": self._database.clock()}
        await self._database.change(sa.insert(QuestionnaireAnswer).values(row))

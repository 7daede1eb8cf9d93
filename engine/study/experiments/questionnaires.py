"""Answers to questionnaires: what is still to be asked of somebody, and what they said."""

from typing import TYPE_CHECKING

import sqlalchemy as sa
from ulid import ULID

from engine.ledger.transactions import Database, repeated
from engine.study.experiments.questions import NO_ANSWER, Asked, ordered
from engine.study.experiments.tables import QuestionnaireAnswer

if TYPE_CHECKING:
    from engine.study.consent.participants import Person
    from engine.study.experiments.enrolment import Enrolled
    from engine.study.study import Study


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

    @repeated
    async def answer(
        self,
        enrolled: "Enrolled",
        instrument: str,
        person: "Person",
        place: int,
        choice: str,
        about: str | None = None,
    ) -> Asked | None:
        """Write the answer down: the number of the choice as shown, or "none". None for no such."""
        asked = next((a for a in self.asked(enrolled, instrument) if a.place == place), None)
        if asked is None:
            return None
        chosen = choice.isdecimal() and int(choice) < len(asked.values)
        if not chosen and (choice != NO_ANSWER or asked.question.required):
            return None
        row = {
            "id": str(ULID()),
            "study": self._study.id,
            "experiment": enrolled.experiment.id,
            "pseudonym": person.pseudonym,
            "instrument": instrument,
            "question": asked.question.id,
            "about": about,
            "value": asked.values[int(choice)] if chosen else None,
            "shown": {"place": place, "choices": list(asked.values)},
            "at": self._database.clock(),
        }
        await self._database.change(sa.insert(QuestionnaireAnswer).values(row))
        return asked

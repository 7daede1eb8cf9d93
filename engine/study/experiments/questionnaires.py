"""Answers to questionnaires: what is still to be asked of somebody, and what they said."""

from typing import Any

import sqlalchemy as sa
from ulid import ULID

from engine.ledger.transactions import Database, repeated
from engine.study.consent.participants import Person
from engine.study.experiments.enrolment import Enrolled
from engine.study.experiments.tables import QuestionnaireAnswer
from engine.study.instruments import NO_ANSWER, Asked, ordered
from engine.study.study import Study

INSTRUMENTS = ("before", "after", "rating")


class Questionnaires:
    """On one book, for one study."""

    def __init__(self, database: Database, study: Study) -> None:
        self._database = database
        self._study = study

    def asked(self, enrolled: Enrolled, instrument: str) -> tuple[Asked, ...]:
        """The instrument's questions in the order of this unit."""
        experiment = enrolled.experiment
        rating = (experiment.rating,) if experiment.rating else ()
        questions = {"before": experiment.before, "after": experiment.after, "rating": rating}
        name = f"{experiment.id}|{instrument}|{enrolled.unit}"
        return ordered(self._study.needed_key(), name, questions[instrument])

    async def next(self, enrolled: Enrolled, instrument: str, person: Person) -> Asked | None:
        """The first question that has no answer yet."""
        answered = await self._answered(enrolled, instrument, person)
        for asked in self.asked(enrolled, instrument):
            if asked.question.id not in answered:
                return asked
        return None

    async def _answered(self, enrolled: Enrolled, instrument: str, person: Person) -> set[str]:
        query = sa.select(QuestionnaireAnswer.question).where(
            QuestionnaireAnswer.study == self._study.id,
            QuestionnaireAnswer.experiment == enrolled.experiment.id,
            QuestionnaireAnswer.instrument == instrument,
            QuestionnaireAnswer.pseudonym.in_(person.accounts),
        )
        async with self._database.reading() as connection:
            return set(await connection.scalars(query))

    @repeated
    async def answer(
        self,
        enrolled: Enrolled,
        instrument: str,
        person: Person,
        place: int,
        choice: str,
        about: str | None = None,
    ) -> Asked | None:
        """Write the answer down: the number of the choice as shown, or "none". None for no such."""
        asked = next((a for a in self.asked(enrolled, instrument) if a.place == place), None)
        if asked is None:
            return None
        value = _value(asked, choice)
        if value is None and (choice != NO_ANSWER or asked.question.required):
            return None
        shown: dict[str, Any] = {"place": place, "choices": list(asked.values)}
        async with self._database.writing() as connection:
            values = {
                "id": str(ULID()),
                "study": self._study.id,
                "experiment": enrolled.experiment.id,
                "pseudonym": person.pseudonym,
                "instrument": instrument,
                "question": asked.question.id,
                "about": about,
                "value": value,
                "shown": shown,
                "at": self._database.clock(),
            }
            await connection.execute(sa.insert(QuestionnaireAnswer).values(values))
        return asked


def _value(asked: Asked, choice: str) -> str | None:
    if choice.isdecimal() and int(choice) < len(asked.values):
        return asked.values[int(choice)]
    return None

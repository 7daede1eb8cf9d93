"""The experiments' side of the desk: people, arms, exposures, passages, questionnaires, on one book."""

from pathlib import Path

from engine.book import Book
from engine.study.answering import Answering
from engine.study.collecting import Collecting
from engine.study.eligibility import Asking, unit_of
from engine.study.enrolling import Enrolled, Experiments
from engine.study.exposing import Exposures
from engine.study.guessing import Guesses
from engine.study.participants import Person, Spot, person_at
from engine.study.study import Study


class Lab:
    """One for a process with a study. `folder` is the study's own, with `experiments` in it."""

    def __init__(self, book: Book, study: Study, folder: Path) -> None:
        self.study = study
        self.experiments = Experiments(book, study, folder / "experiments")
        self.exposures = Exposures(book, study)
        self.guesses = Guesses(book, study)
        self.answering = Answering(book, study)
        self._book = book

    async def open(self) -> None:
        """Read the experiments, and put the shipped passages in their place."""
        await self.experiments.load()
        await self.guesses.stock()

    async def person(self, spot: Spot) -> Person | None:
        """The participant there, if there is one."""
        async with self._book.reading() as connection:
            return await person_at(connection, self.study, spot)

    async def kept(self, request: str) -> bool:
        """Whether an earlier request is in the study, so that what goes on from it may be, too."""
        async with self._book.reading() as connection:
            return await Collecting(self.study).interaction_of(connection, request) is not None

    async def enrolled(self, person: Person, spot: Spot, asking: Asking) -> Enrolled | None:
        """The unit's arm in the experiment that takes this in, drawn now if need be."""
        experiment = self.experiments.fitting(spot, asking)
        if experiment is None:
            return None
        return await self.experiments.enrol(experiment, unit_of(experiment, person, asking), person)

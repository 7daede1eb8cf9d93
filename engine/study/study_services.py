"""The study's services for experiments: people, arms, exposures, passages, questionnaires."""

import asyncio
from pathlib import Path

from engine.ledger.transactions import Database
from engine.plan.job import Spot
from engine.study.consent.participants import Panel, Person, person_at
from engine.study.experiments.annotators import Annotators
from engine.study.experiments.eligibility import Candidate
from engine.study.experiments.enrolment import Enrolled, Experiments
from engine.study.experiments.exposures import Exposures
from engine.study.experiments.flow import Flow
from engine.study.experiments.passages import PassagePool, shipped
from engine.study.experiments.questionnaires import Questionnaires
from engine.study.experiments.stimuli import Stimuli, digest_of
from engine.study.interactions import interaction_of_request
from engine.study.study import Study


class StudyServices:
    def __init__(self, database: Database, study: Study, folder: Path) -> None:
        self.study = study
        self.experiments = Experiments(database, study, folder / "experiments")
        self.exposures = Exposures(database, study)
        self.passages = PassagePool(database, study)
        self.stimuli = Stimuli(database, study, folder / "stimuli")
        self.questionnaires = Questionnaires(database, study)
        self.panel = Panel(database, study)
        self.annotators = Annotators(database, study, self.stimuli)
        judged = self.questionnaires, self.stimuli, self.passages, self.annotators
        self.flow = Flow(self.experiments, self.exposures, *judged)
        self._database = database

    async def open(self) -> None:
        await self.experiments.load()
        await self.passages.add(await asyncio.to_thread(shipped))
        every = self.experiments.all
        frozen = {s.stimuli for e in every if e.id in self.experiments.frozen for s in e.steps}
        problems = await self.stimuli.load(frozen - {""})
        pools = {name: digest_of(items) for name, items in self.stimuli.pools.items()}
        self.experiments.supply(pools, problems)

    async def person(self, spot: Spot, *, leaving: bool = False) -> Person | None:
        async with self._database.reading() as connection:
            return await person_at(connection, self.study, spot, leaving=leaving)

    async def kept(self, request: str) -> bool:
        """Tell whether an earlier request is in the study, so that what goes on from it may be, too."""
        async with self._database.reading() as connection:
            return await interaction_of_request(connection, self.study, request) is not None

    async def due(self, person: Person, *, leaving: bool = False) -> list[Enrolled]:
        """Find what the person is to be told: they saw all of it, it is over, or they are `leaving`."""
        told = await self.questionnaires.told(person)
        found = []
        for one in await self.experiments.of_person(person):
            name = one.experiment.id
            seen = one.completed
            if one.experiment.task != "flow":
                seen = await self.exposures.count(person, name) >= one.experiment.exposures
            over = leaving or seen or not await self.experiments.running(one.experiment)
            if over and name not in told:
                found.append(one)
        return found

    async def enrolled(self, person: Person, spot: Spot, asking: Candidate) -> Enrolled | None:
        """Find the unit's arm: where the person is in already, else in the first that has room.

        One that is stopped, full, or done with by this person costs no other a unit. In the middle of a
        flow only its own step takes anything, if that asks for a wish of one's own.
        """
        flow = await self.flow.current(person, invited=asking.invited)
        if flow is not None:
            if asking.task == "flow":
                return flow
            return await self.flow.taking(flow, asking.task, person)
        fitting = self.experiments.fitting(spot, asking)
        mine = await self.experiments.of_person(person)
        begun = {one.experiment.id: one.unit for one in mine}
        ended = {one.experiment.id for one in mine if one.experiment.task == "flow"}
        ended |= await self.questionnaires.told(person)
        for experiment in sorted(fitting, key=lambda each: each.id not in begun):
            if experiment.id in ended:
                continue
            done = await self.exposures.count(person, experiment.id)
            if experiment.task != "flow" and done >= experiment.exposures:
                continue
            # a person's unit keeps its name, whichever account stands for all now
            units = {"person": begun.get(experiment.id, person.root), "request": asking.unit}
            unit = units.get(experiment.unit, person.place)
            found = await self.experiments.enrol(experiment, unit, person)
            if found is not None:
                return found
        return None

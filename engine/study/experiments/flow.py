"""Where one person stands in an experiment, and what follows from an answer or from the end."""

from dataclasses import dataclass, replace

from ulid import ULID

from engine.study.consent.participants import Person
from engine.study.experiments.annotators import Annotators
from engine.study.experiments.enrolment import FULL, Enrolled, Experiments
from engine.study.experiments.exposures import Exposures
from engine.study.experiments.passages import Item, PassagePool
from engine.study.experiments.questionnaires import Questionnaires
from engine.study.experiments.questions import Asked
from engine.study.experiments.steps import Step, left
from engine.study.experiments.stimuli import Stimuli, shown, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Hold the step that comes next, with its question or the trials that are done; none at the end."""

    step: Step | None = None
    asked: Asked | None = None
    done: int = 0


@dataclass(frozen=True, slots=True)
class Flow:
    _experiments: Experiments
    _exposures: Exposures
    _questionnaires: Questionnaires
    _stimuli: Stimuli
    _passages: PassagePool
    _annotators: Annotators

    async def place(
        self, enrolled: Enrolled, person: Person, without: tuple[str, ...] = ()
    ) -> Place:
        """Find what comes next; `without` are steps that have nothing left to show."""
        experiment = enrolled.experiment
        if enrolled.excluded == FULL or await self._questionnaires.over(experiment, person):
            return Place()
        said = await self._questionnaires.said(experiment.id, person)
        done = await self._exposures.by_step(person, experiment.id)
        if experiment.task != "flow":  # what is only seen counts there, too
            done = {"": await self._exposures.count(person, experiment.id)}
        values = {question: value for (_, question), value in said.items()}
        for step, count in left(self._questionnaires.steps(enrolled), values, done):
            if step.id in without:
                continue
            if step.trials:
                return Place(step=step, done=count)
            asked = self._questionnaires.first(enrolled, step.id, said)
            if asked is not None:
                return Place(step=step, asked=asked)
        return Place()

    async def current(self, person: Person, *, invited: bool = False) -> Enrolled | None:
        for one in await self._experiments.of_person(person):
            other = not one.experiment.flows(invited=invited)
            if other or one.completed or one.excluded == FULL:
                continue
            over = await self._questionnaires.over(one.experiment, person)
            if not over and await self._experiments.running(one.experiment):
                return one
        return None

    async def taking(self, enrolled: Enrolled, kind: str, person: Person) -> Enrolled | None:
        """Give it with the step where the person stands, if that is of this kind and has no items."""
        without: tuple[str, ...] = ()
        while (step := (await self.place(enrolled, person, without)).step) is not None:
            if step.kind == kind and not step.stimuli:
                return replace(enrolled, step=step.id)
            waiting = await self._exposures.open_one(person, enrolled.experiment.id, step.id)
            if not step.trials or waiting or await self._drawn(enrolled, step, person):
                return None
            without = (*without, step.id)
        return None

    async def _drawn(
        self, enrolled: Enrolled, step: Step, person: Person
    ) -> tuple[Item, ...] | None:
        if enrolled.experiment.annotators:
            return await self._annotators.draw(enrolled, step, person)
        if step.stimuli:
            name = enrolled.experiment.id
            number = await self._exposures.number(person, name, step.kind, step.id)
            return await self._stimuli.draw(enrolled, step, person, number)
        expert = enrolled.arms[0].expert if len(enrolled.arms) == 1 else ""
        passage = await self._passages.draw(person, expert)
        return (passage,) if passage else None

    async def trial(self, enrolled: Enrolled, step: Step, person: Person) -> str | None:
        """Take up what was shown and not judged, or draw; None where nothing is left."""
        experiment = enrolled.experiment
        most = experiment.annotators or (experiment.seen_by if step.stimuli else 0)
        while True:
            waiting = await self._exposures.open_one(person, experiment.id, step.id)
            if waiting is not None:
                return waiting
            items = await self._drawn(enrolled, step, person)
            if items is None:
                return None
            name, pair = str(ULID()), step.kind == "compare"
            if await self._exposures.make(
                name,
                person,
                step.kind,
                shown=[shown(x, item) for x, item in zip("ab", items, strict=False)],
                seed=0,
                experiment=experiment,
                step=step.id,
                item=whole(step.stimuli, items[0].stimulus) if pair else items[0].id,
                most=most or None,
            ):
                return name

    async def answered(self, enrolled: Enrolled, asked: Asked, person: Person) -> Enrolled:
        """Take the unit into its stratum, where a quota counts this answer; give how it stands now."""
        quota, experiment = enrolled.experiment.quota, enrolled.experiment
        if quota is None or asked.question.id != quota.question:
            return enrolled
        said = await self._questionnaires.said(experiment.id, person)
        value = next(v for (_, question), v in said.items() if question == quota.question)
        await self._experiments.stratify(enrolled, value or "")
        found = await self._experiments.by_enrolment(enrolled.id)
        return found[0] if found else enrolled

    async def finish(self, enrolled: Enrolled, person: Person) -> None:
        """Note the end, once, and exclude by the rules that the file wrote down before."""
        rules, experiment = enrolled.experiment.exclude, enrolled.experiment
        over = await self._questionnaires.over(experiment, person)
        if enrolled.completed or enrolled.excluded == FULL or over:
            return
        await self._experiments.completed(enrolled)
        votes = await self._exposures.votes_of(person, experiment.id)
        failed = await self._questionnaires.failed(experiment, person)
        # at 0 the clock had jumped back, and nobody knows
        if any(0 < vote.seconds < rules.faster_seconds for vote in votes):
            reason = f"a vote within {rules.faster_seconds:g} seconds"
        elif rules.unblinded and any(vote.unblinded for vote in votes):
            reason = "a model named itself"
        elif rules.failed_checks and failed >= rules.failed_checks:
            reason = f"attention checks failed: {failed}"
        else:
            return
        await self._experiments.exclude(enrolled, reason)

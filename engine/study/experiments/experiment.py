"""An experiment as its researcher writes it: one TOML file, every mistake named.

It lies in `studies/<study>/experiments/<id>.toml`. From the first unit that is enrolled on it is frozen:
what runs is the copy in the database, and a file that differs is refused by name. Four tasks:

    single    ordinary requests are answered under the unit's arm
    compare   /compare shows two arms side by side, blinded, and asks which is better
    guess     /guess shows a passage and asks whether a person or a model wrote it
    flow      one step after the other, as the file lists them (engine.study.experiments.steps)
"""

import datetime
import itertools
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from engine.plan.cards import Sampling, Template
from engine.plan.treatment import PICTURE_VALUES, TEXT_VALUES
from engine.study.experiments import steps
from engine.study.experiments.questions import Question, QuestionName, Rating, Strict
from engine.study.experiments.steps import Step

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
ArmName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,14}$")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=2000, strip_whitespace=True)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=200, strip_whitespace=True)]
Platform = Literal["discord", "telegram", "terminal"]
BETWEEN = "+"  # the arms of a pair


_SAMPLING = TypeAdapter(Sampling)


class Arm(Strict):
    """Validate what is different in an arm; with nothing set, the answer is as everybody gets it."""

    name: ArmName
    expert: Name | Literal[""] = ""
    plain: bool = False
    sampling: dict[str, float] = Field(default_factory=dict)
    template: str = ""
    router: Literal["rules", "keywords", "default"] = "rules"
    weight: Annotated[int, Field(ge=1, le=100)] = 1

    @model_validator(mode="after")
    def _possible(self) -> Self:
        known = (*TEXT_VALUES, *PICTURE_VALUES)
        if unknown := [name for name in self.sampling if name not in known]:
            raise ValueError(f"sampling has no {', '.join(unknown)}; there are {', '.join(known)}")
        texts = {
            name: int(value) if value.is_integer() else value
            for name, value in self.sampling.items()
            if name in TEXT_VALUES
        }
        try:
            _SAMPLING.validate_python(texts)
        except ValidationError as error:
            one = error.errors(include_url=False)[0]
            raise ValueError(
                f"sampling.{one['loc'][0]}: {one['msg'].replace('Input should', 'must')}, "
                f"not {one['input']}"
            ) from None
        if self.template:
            Template(text=self.template)
        if self.expert and self.router != "rules":
            raise ValueError("an arm that names its expert needs no router")
        return self


class Eligible(Strict):
    """Validate who and what is taken in; empty: everybody, everything."""

    platforms: tuple[Platform, ...] = ()
    locales: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}$")], ...] = ()
    languages: tuple[Literal["en"], ...] = ()
    commands: tuple[Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,32}$")], ...] = ()
    experts: tuple[Name, ...] = ()
    minimum_age: Annotated[int, Field(ge=16, le=99)] = 18


class Exclusion(Strict):
    """Validate which units an analysis leaves out; they are marked, never deleted."""

    fewer_exposures: Annotated[int, Field(ge=0)] = 0
    faster_seconds: Annotated[float, Field(ge=0)] = 0.0
    unblinded: bool = False
    failed_checks: Annotated[int, Field(ge=0, le=12)] = 0


class Quota(Strict):
    """Validate how many units are taken of each answer to a question before the first trial."""

    question: QuestionName
    most: Annotated[dict[str, Annotated[int, Field(ge=0)]], Field(min_length=1)]


class Experiment(Strict):
    """Validate the whole file. `max_n` counts units, `exposures` those of one person until the end;
    `scrub` are words that would tell an arm, taken out of what is compared; of a flow for invited
    `annotators` it says how many of them rate each item."""

    id: Name
    title: Line
    title_it: str = Field(default="", max_length=200)
    hypothesis: Words
    preregistration: Annotated[str, StringConstraints(pattern=r"^(https://\S{4,300})?$")] = ""
    task: Literal["single", "compare", "guess", "flow"]
    unit: Literal["person", "request", "place"] = "person"
    allocation: Literal["simple", "blocks"] = "blocks"
    start: datetime.date
    stop: datetime.date
    max_n: Annotated[int, Field(ge=1, le=1_000_000)]
    completes: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    seen_by: Annotated[int, Field(ge=0, le=10_000)] = 0
    annotators: Annotated[int, Field(ge=0, le=100)] = 0
    exposures: Annotated[int, Field(ge=1, le=1000)] = 10
    reveal: Literal["each", "end", "none"] = "end"
    blind: bool = True
    scrub: tuple[Line, ...] = ()
    completion_code: bool = False
    return_link: Annotated[str, StringConstraints(pattern=r"^(https://\S{4,300})?$")] = ""
    debrief: str = Field(default="", max_length=1500)
    debrief_it: str = Field(default="", max_length=1500)
    arms: tuple[Arm, ...] = ()
    eligible: Eligible = Eligible()
    exclude: Exclusion = Exclusion()
    quota: Quota | None = None
    step: Annotated[tuple[Step, ...], Field(max_length=40)] = ()
    rating: Rating | None = None
    before: Annotated[tuple[Question, ...], Field(max_length=12)] = ()
    after: Annotated[tuple[Question, ...], Field(max_length=12)] = ()

    @field_validator("step", mode="before")
    @classmethod
    def _named(cls, given: object) -> object:
        return steps.named(given)

    @model_validator(mode="after")
    def _flowing(self) -> Self:
        if (self.task == "flow") != bool(self.step):
            raise ValueError("step: the task flow has steps, and only it")
        if self.task != "flow":
            if self.quota or self.seen_by or self.return_link or self.annotators:
                raise ValueError("quota, seen_by, return_link, annotators are for the task flow")
            return self
        if self.before or self.after or self.rating or self.unit != "person":
            raise ValueError("a flow asks in its steps, and its unit is the person")
        steps.check(self.step)
        if self.annotators and (
            self.seen_by or {s.kind for s in self.step if s.trials} != {"rate"}
        ):
            raise ValueError("annotators: they rate, and nothing else; it stands for seen_by")
        if not self.annotators and any(step.answers for step in self.step):
            raise ValueError("answers: only annotators are shown what others were answered")
        own = any(step.kind == "compare" and not step.stimuli for step in self.step)
        if own and len(self.arms) < 2:
            raise ValueError("arms: a comparison without stimuli needs two arms at least")
        if self.quota is not None:
            early = itertools.takewhile(lambda step: not step.trials or step.practice, self.step)
            known = {q.id: q.values for step in early for q in step.questions if q.required}
            if not set(self.quota.most) <= set(known.get(self.quota.question, ())):
                raise ValueError(
                    f"quota: {self.quota.question} must be asked before the first trial, be required, "
                    "and have these answers"
                )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError("arms: every arm needs a name of its own")
        if self.task not in ("guess", "flow") and len(names) < 2:
            raise ValueError(f"arms: the task {self.task} needs two arms at least")
        if self.stop < self.start:
            raise ValueError("stop: must not come before start")
        if self.task == "guess" and self.unit != "person":
            raise ValueError("unit: the task guess is allocated by person")
        asks = self.before or self.after or self.rating or self.completion_code
        if self.unit != "person" and asks:
            raise ValueError("unit: questions, ratings and codes are for the unit person")
        if self.unit != "person" and self.exclude.fewer_exposures:
            raise ValueError(
                "unit: fewer_exposures counts one person's, so it is for the unit person"
            )
        ids = [question.id for question in (*self.before, *self.after)]
        if len(set(ids)) < len(ids):
            raise ValueError("before, after: every question needs an id of its own")
        return self

    @property
    def steps(self) -> tuple[Step, ...]:
        """List what one person does: the steps of a flow, or those that every other task has."""
        if self.task == "flow":
            return self.step
        asked = {"before": self.before, "after": self.after}
        parts = [
            Step(kind="questions", id=name, questions=found, shuffle=True)
            for name, found in asked.items()
            if found
        ]
        trial = Step(kind=self.task).model_copy(update={"count": self.exposures})
        return (*parts[: bool(self.before)], trial, *parts[bool(self.before) :])

    def flows(self, *, invited: bool) -> bool:
        """Tell whether it is a flow, for annotators or for everybody else."""
        return self.task == "flow" and bool(self.annotators) == invited

    def step_named(self, name: str) -> Step | None:
        if name == "rating" and self.rating is not None:
            return Step(kind="questions", id=name, questions=(self.rating,))
        return next((step for step in self.steps if step.id == name), None)

    def length(self, step: str) -> int:
        """Say how many are judged in a step, or outside of flows in the whole."""
        found = self.step_named(step)
        return found.count if found is not None else self.exposures

    @property
    def weights(self) -> dict[str, int]:
        pairs_of_arms = any(s.kind == "compare" and not s.stimuli for s in self.step)
        if self.task == "compare" or (pairs_of_arms and self.arms):
            pairs = itertools.combinations(self.arms, 2)
            return {f"{a.name}{BETWEEN}{b.name}": a.weight * b.weight for a, b in pairs}
        return {arm.name: arm.weight for arm in self.arms} or {"all": 1}

    def arms_of(self, arm: str) -> tuple[Arm, ...]:
        """Find the arms that a unit was allocated to: one, or the two of a pair."""
        known = {each.name: each for each in self.arms}
        return tuple(known[name] for name in arm.split(BETWEEN) if name in known)

    def runs(self, now: float) -> bool:
        """Tell whether the day, in UTC, lies within its dates, the last one included."""
        today = datetime.datetime.fromtimestamp(now, datetime.UTC).date()
        return self.start <= today <= self.stop

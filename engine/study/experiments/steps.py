"""The steps of a flow: what one person does, in which order, and after which answers. Pure."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from engine.study.experiments.allocation import shuffled
from engine.study.experiments.questions import Question, Strict, When, holds

StepName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,15}$")]
Recorded = Annotated[str, StringConstraints(pattern=r"^(\*|[a-z0-9][a-z0-9_-]{0,31})?$")]
PoolName = Annotated[str, StringConstraints(pattern=r"^([a-z0-9][a-z0-9_-]{0,31})?$")]
Kind = Literal["consent", "questions", "single", "compare", "guess", "rate", "debrief"]
TRIALS = ("compare", "guess", "rate")


class Step(Strict):
    """Validate one step. `count` is of trials; neighbours of one `block` come in an order by the key.

    `answers` is the experiment whose recorded answers are rated, or `*` for all.
    """

    kind: Kind
    id: StepName | Literal[""] = ""
    count: Annotated[int, Field(ge=1, le=1000)] = 1
    stimuli: PoolName = ""
    answers: Recorded = ""
    practice: bool = False
    block: PoolName = ""
    shuffle: bool = False
    when: When = Field(default_factory=dict)
    questions: Annotated[tuple[Question, ...], Field(max_length=12)] = ()

    @model_validator(mode="after")
    def _possible(self) -> Self:
        asks = self.kind in ("questions", "rate")
        if asks != bool(self.questions):
            raise ValueError("questions: the kinds questions and rate have them, and only they")
        if self.kind not in TRIALS and (self.stimuli or self.practice or self.count > 1):
            raise ValueError(f"a step of the kind {self.kind} has no trials")
        if self.kind == "rate" and bool(self.stimuli) == bool(self.answers):
            raise ValueError("stimuli, or answers: say which are rated")
        if self.kind != "rate" and self.answers:
            raise ValueError("answers: a step of the kind rate has them")
        if self.kind in ("consent", "debrief") and (self.when or self.block):
            raise ValueError(f"{self.kind} is for everybody, and has its place")
        return self

    @property
    def trials(self) -> bool:
        return self.kind in (*TRIALS, "single")


def named(steps: object) -> object:
    """Name those that have no name by their kind and place; others are checked later."""
    if not isinstance(steps, list):
        return steps
    return [
        {"id": f"{step.get('kind', 'step')}-{number}", **step} if isinstance(step, dict) else step
        for number, step in enumerate(steps, 1)
    ]


def check(steps: Sequence[Step]) -> None:
    """Raises ValueError for steps that cannot follow upon each other."""
    kinds = [step.kind for step in steps]
    if "consent" in kinds[1:] or "debrief" in kinds[:-1]:
        raise ValueError("consent stands first, and debrief last")
    if "single" in kinds:
        raise ValueError("single is a task, and no step: a flow cannot wait for ordinary requests")
    if not any(step.trials and not step.practice for step in steps):
        raise ValueError("a flow needs a step that compares, guesses or rates, beside practice")
    if len({step.id for step in steps}) < len(steps):
        raise ValueError("every step needs an id of its own")
    known: dict[str, Question] = {}
    for step in steps:
        own = [q for q in step.questions if step.kind == "questions"]
        if repeated := [q.id for q in step.questions if q.id in known]:
            raise ValueError(f"the question {repeated[0]} stands twice")
        _answerable(step.when, known)
        for number, question in enumerate(step.questions):
            _answerable(question.when, known | {q.id: q for q in own[:number]})
        known |= {question.id: question for question in own}


def _answerable(when: Mapping[str, Iterable[str]], known: Mapping[str, Question]) -> None:
    for name, answers in when.items():
        if name not in known:
            raise ValueError(
                f"when: no question {name} stands before; there are {', '.join(known)}"
            )
        if wrong := [said for said in answers if said not in known[name].values]:
            raise ValueError(f"when: {name} cannot be answered with {wrong[0]!r}")


def in_order(key: bytes, name: str, steps: Iterable[Step]) -> list[Step]:
    """Order the steps as one unit has them; the same key and name give the same order.

    >>> steps = [Step(kind="guess", id=name, block="b") for name in "abc"]
    >>> {"".join(s.id for s in in_order(bytes(32), str(n), steps)) for n in range(50)} > {"abc", "cba"}
    True
    """
    found: list[Step] = []
    for block, group in itertools.groupby(steps, key=lambda step: step.block):
        together = tuple(group)
        found += shuffled(key, f"steps|{name}|{block}", together) if block else together
    return found


def left(
    steps: Iterable[Step], said: Mapping[str, str | None], done: Mapping[str, int]
) -> Iterable[tuple[Step, int]]:
    """List what is still to be done, with how many trials are; whether a question is, others know.

    >>> guess = Step(kind="guess", id="g", count=2, when={"age": ("old",)})
    >>> [list(left([guess], {"age": age}, {"g": 1})) == [(guess, 1)] for age in ("old", "young", None)]
    [True, False, False]
    """
    for step in steps:
        if not holds(step.when, said) or step.kind in ("consent", "debrief"):
            continue
        if not step.trials or done.get(step.id, 0) < step.count:
            yield step, done.get(step.id, 0)

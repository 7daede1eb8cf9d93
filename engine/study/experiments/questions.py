"""Questions of a questionnaire that buttons answer, and the order in which they are shown.

The order of the questions, and of the choices of one that says so, follows from the study's key and the
person: it is the same whenever it is asked for, and stored with every answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from engine.study.experiments.allocation import shuffled

QuestionName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_]{0,23}$")]
Text = Annotated[str, StringConstraints(min_length=1, max_length=400, strip_whitespace=True)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=60, strip_whitespace=True)]
NO_ANSWER = "none"  # the choice "prefer not to say"
SLIDER = tuple(str(value) for value in range(0, 101, 10))
MOST_CHOICES = 10


class Question(BaseModel):
    """Validate one question. Unless it is `required`, one may prefer not to say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: QuestionName
    text: Text
    text_it: str = Field(default="", max_length=400)
    kind: Literal["likert", "choice", "slider"] = "likert"
    points: Annotated[int, Field(ge=3, le=9)] = 5
    low: str = Field(default="", max_length=60)
    high: str = Field(default="", max_length=60)
    low_it: str = Field(default="", max_length=60)
    high_it: str = Field(default="", max_length=60)
    choices: Annotated[tuple[Label, ...], Field(max_length=MOST_CHOICES)] = ()
    choices_it: Annotated[tuple[Label, ...], Field(max_length=MOST_CHOICES)] = ()
    shuffle: bool = False
    required: bool = False

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.kind == "choice") != bool(self.choices):
            raise ValueError("the kind choice needs choices, and only it has them")
        if self.choices_it and len(self.choices_it) != len(self.choices):
            raise ValueError("choices_it: as many as choices, in the same order")
        if self.shuffle and self.kind != "choice":
            raise ValueError("only choices can be shuffled")
        return self

    @property
    def values(self) -> tuple[str, ...]:
        match self.kind:
            case "likert":
                return tuple(str(point) for point in range(1, self.points + 1))
            case "slider":
                return SLIDER
            case _:
                return self.choices

    def label(self, value: str, locale: str) -> str:
        """Word a choice; what is on record is the English, whatever was read."""
        italian = locale.startswith("it") and self.choices_it
        return self.choices_it[self.choices.index(value)] if italian else value

    def words(self, locale: str) -> str:
        text, low, high = self.text, self.low, self.high
        if locale.startswith("it"):
            text, low, high = self.text_it or text, self.low_it or low, self.high_it or high
        ends = [f"{self.values[0]} = {low}" if low else ""]
        ends.append(f"{self.values[-1]} = {high}" if high else "")
        scale = ", ".join(end for end in ends if end)
        return f"{text}\n({scale})" if scale and self.kind != "choice" else text


class Rating(Question):
    id: QuestionName = "rating"


@dataclass(frozen=True, slots=True)
class Asked:
    """Hold a question as one person sees it: its place among the others, its choices in order."""

    question: Question
    place: int
    values: tuple[str, ...]


def ordered(key: bytes, name: str, questions: Sequence[Question]) -> tuple[Asked, ...]:
    asked = []
    for place, question in enumerate(shuffled(key, f"questions|{name}", questions)):
        values = question.values
        if question.shuffle:
            values = tuple(shuffled(key, f"choices|{name}|{question.id}", values))
        asked.append(Asked(question, place, values))
    return tuple(asked)

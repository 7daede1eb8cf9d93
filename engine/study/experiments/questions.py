"""Questions of a questionnaire that buttons answer, and the order in which they are shown.

The order of the questions, and of the choices of one that says so, follows from the study's key and the
person: it is the same whenever it is asked for, and stored with every answer.
"""

import math
from collections.abc import Mapping, Sequence
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
BOTH = "; "  # between the choices of one answer
TYPED = "typed"  # the value of free text, whose words stand beside it
MOST_TYPED = 1000  # characters
When = dict[QuestionName, tuple[Annotated[str, StringConstraints(max_length=60)], ...]]


def holds(when: Mapping[str, Sequence[str]], said: Mapping[str, str | None]) -> bool:
    """Tell whether each question was answered with one of these, or with several of which one is.

    >>> holds({"read": ("Poe", "Doyle")}, {"read": "Austen; Poe"}), holds({"read": ("Poe",)}, {})
    (True, False)
    """
    return all(set(right) & set((said.get(name) or "").split(BOTH)) for name, right in when.items())


class Strict(BaseModel):
    """Validate a part of what a researcher writes; a key that is not known is a mistake."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    def said(self, name: str, locale: str) -> str:
        """Give a text in the reader's language, as far as the file has it."""
        italian = getattr(self, f"{name}_it", "") if locale.startswith("it") else ""
        return str(italian or getattr(self, name))


class Question(Strict):
    """Validate one question; `check` is the answer of whoever read an attention check."""

    id: QuestionName
    text: Text
    text_it: str = Field(default="", max_length=400)
    kind: Literal["likert", "choice", "multiple", "slider", "number", "text"] = "likert"
    points: Annotated[int, Field(ge=3, le=9)] = 5
    low: str = Field(default="", max_length=60)
    high: str = Field(default="", max_length=60)
    low_it: str = Field(default="", max_length=60)
    high_it: str = Field(default="", max_length=60)
    choices: Annotated[tuple[Label, ...], Field(max_length=MOST_CHOICES)] = ()
    choices_it: Annotated[tuple[Label, ...], Field(max_length=MOST_CHOICES)] = ()
    shuffle: bool = False
    required: bool = False
    minimum: float | None = None
    maximum: float | None = None
    check: str = Field(default="", max_length=60)
    when: When = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        low, high = self.minimum, self.maximum
        if (self.kind in ("choice", "multiple")) != bool(self.choices):
            raise ValueError("choice and multiple need choices, and only they have them")
        if self.kind == "multiple" and any(BOTH.strip() in choice for choice in self.choices):
            raise ValueError("choices of which several are taken have no semicolon")
        if self.kind != "number" and (low, high) != (None, None):
            raise ValueError("only a number has minimum and maximum")
        if low is not None and high is not None and low > high:
            raise ValueError("minimum: is above maximum")
        if any(len(set(each)) < len(each) for each in (self.choices, self.choices_it)):
            raise ValueError("choices: each stands there once")
        right = (self.read(self.check),) if self.kind == "number" else self.values
        if self.check and self.check not in right:
            raise ValueError(f"check: {self.check!r} is no answer to it")
        if self.choices_it and len(self.choices_it) != len(self.choices):
            raise ValueError("choices_it: as many as choices, in the same order")
        if self.shuffle and not self.choices:
            raise ValueError("only choices can be shuffled")
        return self

    @property
    def typed(self) -> bool:
        return self.kind in ("number", "text")

    def read(self, text: str) -> str | None:
        """Read what was typed; None for what is no answer to it.

        >>> age = Question(id="age", text="?", kind="number", minimum=18)
        >>> age.read(" 30 "), age.read("3,5"), age.read("thirty"), age.read("1e999")
        ('30', None, None, None)
        """
        line = " ".join(text.split())
        if self.kind == "text":
            return line[:MOST_TYPED] or None
        try:
            value = float(line.replace(",", ".")) if len(line) < 20 else math.nan
        except ValueError:
            return None
        low, high = self.minimum, self.maximum
        inside = (low is None or value >= low) and (high is None or value <= high)
        return f"{value:.12g}" if math.isfinite(value) and inside else None

    @property
    def values(self) -> tuple[str, ...]:
        match self.kind:
            case "likert":
                return tuple(str(point) for point in range(1, self.points + 1))
            case "slider":
                return SLIDER
            case "number" | "text":
                return ()
            case _:
                return self.choices

    def label(self, value: str, locale: str) -> str:
        """Word a choice; what is on record is the English, whatever was read."""
        italian = locale.startswith("it") and self.choices_it
        return self.choices_it[self.choices.index(value)] if italian else value

    def words(self, locale: str) -> str:
        text, low, high = (self.said(name, locale) for name in ("text", "low", "high"))
        if self.kind not in ("likert", "slider"):
            return text
        ends = [f"{self.values[0]} = {low}" if low else ""]
        ends.append(f"{self.values[-1]} = {high}" if high else "")
        scale = ", ".join(end for end in ends if end)
        return f"{text}\n({scale})" if scale else text


class Rating(Question):
    id: QuestionName = "rating"


@dataclass(frozen=True, slots=True)
class Asked:
    """Hold a question as one person sees it: its place among the others, its choices in order."""

    question: Question
    place: int
    values: tuple[str, ...]

    def read(self, choice: str) -> str | None:
        """Read the numbers of choices: `2`, or `0-3` of several; None for what is no answer."""
        numbers = sorted({int(part) for part in choice.split("-") if part.isdecimal()})
        one = self.question.kind == "multiple" or len(numbers) == 1
        if not numbers or not one or numbers[-1] >= len(self.values):
            return None
        return BOTH.join(self.values[number] for number in numbers)


def ordered(
    key: bytes, name: str, questions: Sequence[Question], *, shuffle: bool = True
) -> tuple[Asked, ...]:
    asked = []
    order = shuffled(key, f"questions|{name}", questions) if shuffle else questions
    for place, question in enumerate(order):
        values = question.values
        if question.shuffle:
            values = tuple(shuffled(key, f"choices|{name}|{question.id}", values))
        asked.append(Asked(question, place, values))
    return tuple(asked)

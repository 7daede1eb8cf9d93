"""Captions for pictures, by a service that looks at them, or by the catalogue."""

from typing import Protocol

from training.captioning.description import Answer
from training.captioning.questions import Question


class Captioner(Protocol):
    name: str
    model: str
    kept: bool  # whether answers go into the journal: not those in the museum's own words

    def describe(self, question: Question) -> Answer:
        """Say what is in the picture; an answer that is no use says why.

        Raises SourceFault, BadRecipe or NotAllowed where the next picture would fare no better.
        """
        ...

"""The study in chat, as its handlers are given it: the conversation's context, and what is under way."""

from functools import cached_property
from typing import TYPE_CHECKING

from bot.service.context import Context
from bot.service.rate_limit import REMEMBERED, Bounded, Repeats

if TYPE_CHECKING:
    from bot.study.debrief import Debriefs
    from bot.study.guess import GuessGame
    from bot.study.pair import Pairs
    from bot.study.questionnaire import Questions


class StudyChat:
    """One for a process. Comparisons and guesses are there without a study too, as games.

    Each part is loaded when it is first needed: a single question in a terminal needs none.
    """

    def __init__(self, context: Context) -> None:
        self.context = context
        self.agreements = context.services.agreements
        self.study_services = context.services.study_services
        # ids of panels, and codes of annotators, until they agree
        self.panels = Bounded[tuple[str, str], tuple[str, bool]](REMEMBERED)
        self.too_young = Repeats(REMEMBERED)  # in memory: no row says so of anybody

    @cached_property
    def pairs(self) -> "Pairs":
        from bot.study.pair import Pairs

        return Pairs(self.context)

    @cached_property
    def questions(self) -> "Questions":
        from bot.study.questionnaire import Questions

        return Questions(self.context.services, self.debriefs)

    @cached_property
    def debriefs(self) -> "Debriefs":
        from bot.study.debrief import Debriefs

        return Debriefs(self.context)

    @cached_property
    def guessing(self) -> "GuessGame":
        from bot.study.guess import GuessGame

        return GuessGame(self.context.services, self.questions)

"""The study in chat, as its handlers are given it: the conversation's context, and what is under way."""

from bot.service.context import Context
from bot.service.rate_limit import REMEMBERED, Repeats
from bot.study.guess import GuessGame
from bot.study.pair import Pairs
from bot.study.questionnaire import Questions


class StudyChat:
    """One for a process. Comparisons and guesses are there without a study too, as games."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.agreements = context.services.agreements
        self.study_services = context.services.study_services
        self.pairs = Pairs(context)
        self.questions = Questions(context.services)
        self.guessing = GuessGame(context.services, self.questions)
        self.too_young = Repeats(REMEMBERED)  # in memory: no row says so of anybody

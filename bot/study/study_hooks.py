"""What the study adds to the conversation: its commands, buttons and receipts, and what it notes."""

from importlib import import_module
from typing import Any

from bot.messages.buttons import Verb
from bot.messages.grammar import Command, Compare, Generate
from bot.service.context import Context
from bot.service.dispatch_table import ChatStudy, GoOn, Treated
from bot.service.request import Reply, Who
from bot.study.study_chat import StudyChat
from engine.plan.plan import Plan

HANDLERS = ("ballot", "compare", "consent", "flow", "guess", "treatment", "withdrawal")  # modules


class StudyHooks(ChatStudy):
    """Serve the study that runs; comparisons and guesses also where there is none."""

    def __init__(self, chat: StudyChat) -> None:
        self.chat = chat
        study = chat.context.services.agreements.study
        self.title = "" if study is None else study.file.title

    async def treat(self, command: Command, plan: Plan, who: Who) -> Treated | Reply | None:
        from bot.study.treatment import treat

        return await treat(self.chat, command, plan, who)

    async def heard(self, command: Command, who: Who) -> Reply | GoOn | None:
        asked = self.title or "questions" in vars(self.chat)
        if not (asked and isinstance(command, Generate) and command.free):
            return None
        from bot.study.flow import heard

        return await heard(self.chat, command.text, who)

    async def invitation(self, who: Who, job: str) -> Reply | None:
        """Invite, if it is time to, or ask an experiment's question about the answer."""
        if not self.title:
            return None
        from bot.study.consent import invitation

        return await invitation(self.chat, who) or await self.chat.questions.rating(job, who)

    async def stop(self, who: Who, name: str = "") -> bool:
        return await self.chat.pairs.stop(who, name)

    async def leaving(self, who: Who) -> list[str]:
        return await self.chat.debriefs.all_told(who)

    async def delivered(self, job: str) -> None:
        if self.chat.study_services is not None:
            exposures = self.chat.study_services.exposures
            if (name := await exposures.of_answer(job)) is not None:
                await exposures.delivered(name)

    async def settles(self, job: str, address: str) -> bool:
        """Never show an answer of a pair of before a restart alone."""
        from bot.study.pair import PAIR

        if not address.startswith(PAIR):
            return False
        if self.chat.study_services is not None:
            await self.chat.study_services.exposures.void(address.removeprefix(PAIR), "interrupted")
        await self.chat.context.engine.cancel(job)
        await self.chat.context.deliveries.lost(job)
        return True


def add_study(context: Context) -> StudyHooks:
    chat, table = StudyChat(context), context.handlers

    def handler(module: str, name: str) -> Any:
        """Import it when it is first called."""
        return lambda *given: getattr(import_module(f"bot.study.{module}"), name)(chat, *given)

    voting = handler("ballot", "voted")
    table.study = hooks = StudyHooks(chat)
    table.streams |= {Compare: handler("compare", "compare")}
    table.receipts |= {
        "pair": lambda name, shown: chat.pairs.receipt(name, shown),
        "guess": lambda name, shown: chat.guessing.receipt(name, shown),
        "item": handler("flow", "receipt"),
    }
    table.commands |= {
        "consent": handler("consent", "consent"),
        "withdraw": handler("withdrawal", "withdraw"),
        "mydata": handler("withdrawal", "mydata"),
        "link": handler("consent", "link"),
        "study": handler("flow", "study_command"),
        "guess": handler("flow", "guess_command"),
        "rate": handler("flow", "rate_command"),
    }
    table.verbs |= {
        Verb.CONSENT: handler("consent", "consent_pressed"),
        Verb.DATA: handler("withdrawal", "data_pressed"),
        Verb.VOTE: voting,
        Verb.BECAUSE: voting,
        Verb.GUESS: lambda press, who: chat.guessing.pressed(press, who),
        Verb.MORE: handler("flow", "more_pressed"),
        Verb.ANSWER: handler("flow", "answered"),
    }
    return hooks


def load_handlers() -> None:
    """Import them all now, so that nobody waits for it where many are served."""
    for module in HANDLERS:
        import_module(f"bot.study.{module}")

"""What the study adds to the conversation: its commands, buttons and receipts, and what it notes."""

from collections.abc import Sequence
from functools import partial

from bot.messages.buttons import Verb
from bot.messages.grammar import Command, Compare
from bot.service.context import Context
from bot.service.dispatch_table import ChatStudy, Treated
from bot.service.request import Reply, Who
from bot.study.ballot import voted
from bot.study.compare import compare
from bot.study.consent import consent, consent_pressed, invitation, link, study_here
from bot.study.pair import PAIR
from bot.study.study_chat import StudyChat
from bot.study.treatment import treat
from bot.study.withdrawal import data_pressed, mydata, withdraw
from engine.moderation import Judged
from engine.plan.plan import Plan


class StudyHooks(ChatStudy):
    """Serve the study that runs; comparisons and guesses also where there is none."""

    def __init__(self, chat: StudyChat) -> None:
        self.chat = chat
        self._services = chat.context.services
        study = self._services.agreements.study
        self.title = "" if study is None else study.file.title

    async def treat(self, command: Command, plan: Plan, who: Who) -> Treated | Reply | None:
        return await treat(self.chat, command, plan, who)

    async def invitation(self, who: Who, job: str) -> Reply | None:
        """Invite, if it is time to, or ask an experiment's question about the answer."""
        invited = await invitation(self.chat, who)
        return invited or (await self.chat.questions.rating(job, who) if job else None)

    async def stop(self, who: Who, name: str = "") -> bool:
        return await self.chat.pairs.stop(who, name)

    async def note(
        self, kind: str, job: str, who: Who | None = None, detail: dict[str, str] | None = None
    ) -> None:
        by = {} if who is None else {"platform": who.platform, "asker": who.asker}
        await self._services.agreements.event(kind, job, **by, detail=detail)

    async def refused(self, plan: Plan, judged: Sequence[Judged]) -> None:
        await self._services.agreements.refused(plan, judged)

    async def delivered(self, job: str) -> None:
        if self.chat.study_services is not None:
            await self.chat.study_services.exposures.answered(job)

    async def settles(self, job: str, address: str) -> bool:
        """Never show an answer of a pair of before a restart alone."""
        if not address.startswith(PAIR):
            return False
        if self.chat.study_services is not None:
            await self.chat.study_services.exposures.void(address.removeprefix(PAIR), "interrupted")
        await self.chat.context.engine.cancel(job)
        await self.chat.context.deliveries.lost(job)
        return True


def add_study(context: Context) -> StudyHooks:
    chat = StudyChat(context)
    table, guessing, questions = context.handlers, chat.guessing, chat.questions
    voting = partial(voted, chat)
    table.study = hooks = StudyHooks(chat)
    table.streams |= {Compare: partial(compare, chat)}
    table.receipts |= {"pair": chat.pairs.receipt, "guess": guessing.receipt}
    table.commands |= {
        "consent": partial(consent, chat),
        "withdraw": partial(withdraw, chat),
        "mydata": partial(mydata, chat),
        "link": partial(link, chat),
        "study": partial(study_here, chat),
        "guess": lambda _command, who: guessing.guess(who),
    }
    table.verbs |= {
        Verb.CONSENT: partial(consent_pressed, chat),
        Verb.DATA: partial(data_pressed, chat),
        Verb.VOTE: voting,
        Verb.BECAUSE: voting,
        Verb.GUESS: guessing.pressed,
        Verb.MORE: lambda _press, who: guessing.guess(who),
        Verb.ANSWER: questions.answered,
    }
    return hooks

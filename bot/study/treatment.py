"""An experiment's arm in ordinary requests. An exposure has the name of the answer's interaction, so
that whoever delivers the answer, in whatever process, delivers it."""

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bot.locales import words
from bot.messages.normalise import language_of_text
from bot.service.request import Reply, Who
from engine.errors import CommandError
from engine.events import Cancelled, Event, Failed
from engine.ledger.ledger import new_id
from engine.study.experiments.eligibility import Candidate, treatment_of

if TYPE_CHECKING:
    from bot.messages.grammar import Command
    from bot.study.study_chat import StudyChat
    from engine.plan.cards import Expert
    from engine.plan.plan import Plan
    from engine.study.consent.participants import Person
    from engine.study.experiments.enrolment import Enrolled
    from engine.study.study_services import StudyServices

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreatedRequest:
    """Hold a plan under an arm; `note` if the arm's model is not here and it goes without."""

    plan: "Plan"
    study: "StudyServices"
    person: "Person"
    enrolled: "Enrolled"
    note: str = ""

    async def accepted(self) -> None:
        """Write the exposure down before the answer is shown, unless that is outside the study."""
        exposures, arm = self.study.exposures, self.enrolled.arms[0]
        name = await exposures.of_answer(self.plan.job.id)
        if name is None:
            return
        facts = {"arm": arm.name, "expert": self.plan.expert.name, "plain": arm.plain}
        await exposures.make(
            name,
            self.person,
            "single",
            shown=[facts],
            seed=self.plan.request.seed or 0,
            experiment=self.enrolled.experiment,
        )
        if self.note:
            await exposures.void(name, "missing")
        else:
            visible = {"form": "message", "platform": self.plan.request.platform}
            await exposures.compose(name, [dict(facts)], [self.plan.job.id], visible)

    async def shown(self, event: Event | Reply) -> None:
        why = {Reply: "moderated", Failed: "failed", Cancelled: "cancelled"}.get(type(event))
        if why is not None:
            exposures = self.study.exposures
            if (name := await exposures.of_answer(self.plan.job.id)) is not None:
                await exposures.void(name, why)


def candidate(task: str, command: str, expert: "Expert", text: str, unit: str) -> Candidate:
    """Tell of a request what decides on whether an experiment takes it in."""
    language = "en" if language_of_text(text) == "en" else ""
    return Candidate(task=task, command=command, expert=expert.name, language=language, unit=unit)


async def treat(
    chat: "StudyChat", command: "Command", plan: "Plan", who: Who
) -> TreatedRequest | Reply | None:
    """Plan it anew under its unit's arm, or ask what comes first; None outside of experiments."""
    study, request = chat.study_services, plan.request
    if study is None or request.private or request.borrowed:
        return None
    if request.parent is not None and not await study.kept(request.parent):
        return None
    person = await chat.context.services.participant(who)
    if person is None:
        return None
    asking = candidate("single", request.command, plan.expert, request.text, new_id())
    enrolled = await study.enrolled(person, who, asking)
    if enrolled is None or not enrolled.arms:
        return None
    if enrolled.experiment.before:
        first = await chat.questions.before(enrolled, person, command, who)
        if first is not None:
            return first
    arm = treatment_of(enrolled.arms[0], enrolled.experiment, exposure=plan.job.id)
    try:
        changed = chat.context.engine.plan(replace(request, treatment=arm), plan.job.id)
    except CommandError:
        log.warning("an arm's model is missing", extra={"experiment": enrolled.experiment.id})
        note = words("experiment.missing", who.locale)
        return TreatedRequest(plan=plan, study=study, person=person, enrolled=enrolled, note=note)
    return TreatedRequest(plan=changed, study=study, person=person, enrolled=enrolled)

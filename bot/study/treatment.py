"""An experiment's arm in ordinary requests: who gets which, and what is noted of it.

The exposure has the name of the answer's interaction, so that whoever delivers the answer, in whatever
process, delivers the exposure.
"""

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bot.locales import words
from bot.messages.grammar import Command
from bot.messages.language import looks_english
from bot.participants import participant, spot_of
from bot.service.request import Reply, Who
from engine.errors import CommandError
from engine.plan.cards import Expert
from engine.plan.job import Request
from engine.plan.treatment import route_of
from engine.study.consent.participants import Person
from engine.study.experiments.eligibility import Candidate, treatment_of
from engine.study.experiments.enrolment import Enrolled

if TYPE_CHECKING:
    from bot.service.service import ChatService

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreatedRequest:
    """A request under an arm; `told` if the arm's model is not here and it goes without."""

    request: Request
    expert: Expert
    person: Person
    enrolled: Enrolled
    void: bool = False
    told: str = ""

    @property
    def facts(self) -> dict[str, object]:
        """For the record."""
        arm = self.enrolled.arms[0]
        return {"arm": arm.name, "expert": self.expert.name, "plain": arm.plain}


async def treat(
    talk: "ChatService", command: Command, request: Request, expert: Expert, job: str, who: Who
) -> TreatedRequest | Reply | None:
    """The request as its unit's arm has it; a question that comes first; None outside of experiments."""
    lab = talk.desk.lab
    if lab is None or request.private or request.borrowed:
        return None
    if request.parent is not None and not await lab.kept(request.parent):
        return None
    person = await participant(talk, who)
    if person is None:
        return None
    asking = Candidate(
        task="single",
        command=request.command,
        expert=expert.name,
        language="en" if looks_english(request.text) else "",
        unit=job,
    )
    enrolled = await lab.enrolled(person, spot_of(who), asking)
    if enrolled is None or not enrolled.arms:
        return None
    if enrolled.experiment.before:
        first = await talk.questions.before(enrolled, person, command, who)
        if first is not None:
            return first
    changed = replace(
        request, treatment=treatment_of(enrolled.arms[0], enrolled.experiment, exposure=job)
    )
    try:
        named = talk.registry[route_of(changed, talk.registry).expert]
    except CommandError:
        log.warning("an arm's model is missing", extra={"experiment": enrolled.experiment.id})
        told = words("experiment.missing", who.locale)
        return TreatedRequest(
            request=request, expert=expert, person=person, enrolled=enrolled, void=True, told=told
        )
    return TreatedRequest(request=changed, expert=named, person=person, enrolled=enrolled)


async def expose(talk: "ChatService", treated: TreatedRequest, job: str) -> None:
    """The request was accepted: on record, before its answer is shown.

    An answer that goes on from one outside the study is outside too.
    """
    lab = talk.desk.lab
    assert lab is not None
    name = await lab.exposures.of_answer(job)
    if name is None:
        return
    await lab.exposures.make(
        name,
        treated.person,
        "single",
        shown=[treated.facts],
        seed=treated.request.seed or 0,
        experiment=treated.enrolled.experiment.id,
    )
    if treated.void:
        await lab.exposures.void(name, "missing")
    else:
        await lab.exposures.compose(name, [dict(treated.facts)], [job], {"form": "message"})

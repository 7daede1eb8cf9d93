"""Find the participant who speaks."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.service.request import Who
    from engine.process.services import Services
    from engine.study.consent.participants import Person


async def participant(services: "Services", who: "Who") -> "Person | None":
    return None if services.study_services is None else await services.study_services.person(who)

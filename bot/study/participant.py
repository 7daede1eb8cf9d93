"""Find the participant who speaks."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.service.request import Who
    from engine.process.composition import Desk
    from engine.study.consent.participants import Person


async def participant(desk: "Desk", who: "Who") -> "Person | None":
    return None if desk.study_services is None else await desk.study_services.person(who)

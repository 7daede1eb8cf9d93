"""Find the participant who speaks."""

from bot.service.request import Who
from engine.process.composition import Desk
from engine.study.consent.participants import Person, Spot


def spot_of(who: Who) -> Spot:
    return Spot(
        platform=who.platform,
        asker=who.asker,
        place=who.place,
        server=who.server,
        alone=who.private,
        locale=who.locale,
    )


async def participant(desk: Desk, who: Who) -> Person | None:
    return None if desk.study_services is None else await desk.study_services.person(spot_of(who))

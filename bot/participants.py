"""Who takes part in the study, here and now, as it sees them."""

from bot.service.request import Who
from engine.process.composition import Desk
from engine.study.consent.participants import Person, Spot


def spot_of(who: Who) -> Spot:
    """Where somebody is, as the study sees it."""
    return Spot(
        platform=who.platform,
        asker=who.asker,
        place=who.place,
        server=who.server,
        alone=who.private,
        locale=who.locale,
    )


async def participant(desk: Desk, who: Who) -> Person | None:
    """Somebody who takes part, here and now."""
    lab = desk.lab
    return None if lab is None else await lab.person(spot_of(who))

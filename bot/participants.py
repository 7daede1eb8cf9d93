"""Who takes part in the study, here and now, as it sees them."""

from typing import TYPE_CHECKING

from bot.conversation import Who
from engine.study.participants import Person, Spot

if TYPE_CHECKING:
    from bot.talk import Talk


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


async def participant(talk: "Talk", who: Who) -> Person | None:
    """Somebody who takes part, here and now."""
    lab = talk.desk.lab
    return None if lab is None else await lab.person(spot_of(who))

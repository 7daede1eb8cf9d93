"""What a request costs its asker and its place, and how it is given back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.locales import words
from bot.messages import draft
from bot.service.request import Who
from engine.errors import LimitError
from engine.plan.cards import Expert
from engine.plan.job import Request
from engine.plan.treatment import route_of

if TYPE_CHECKING:
    from bot.service.service import ChatService


def place_charged(who: Who) -> str | None:
    """Whose bucket a request empties beside its asker's: a channel's with its threads."""
    return None if who.private else who.parent or who.place


@dataclass(frozen=True, slots=True)
class Paid:
    """What a request cost, and where it was taken from."""

    who: Who
    cost: float


async def take(talk: "ChatService", request: Request, expert: Expert, who: Who) -> Paid:
    """Take the cost. Raises LimitError with an honest wait."""
    most = talk.settings.asker_waiting
    waiting = await talk.desk.under_way(who.platform, who.asker)
    if most and len(waiting) >= most:
        raise LimitError(words("talk.too_many", who.locale, count=len(waiting)))
    cost = talk.settings.picture_cost * (request.count or 1) if expert.medium == "image" else 1.0
    soon = await talk.desk.quotas.take(who.platform, who.asker, place_charged(who), cost)
    if soon is not None:
        key = "talk.wait_place" if soon.place else "talk.wait"
        raise LimitError(words(key, who.locale, wait=draft.seconds(max(1.0, soon.seconds))))
    return Paid(who, cost)


async def charge_all(talk: "ChatService", requests: Sequence[Request], who: Who) -> list[Paid]:
    """Take the cost of them all, or of none. Raises LimitError."""
    paid: list[Paid] = []
    try:
        for request in requests:
            expert = talk.registry[route_of(request, talk.registry).expert]
            paid.append(await take(talk, request, expert, who))
    except BaseException:  # all or none, whoever is at fault
        await give_back(talk, paid)
        raise
    return paid


async def give_back(talk: "ChatService", paid: Sequence[Paid]) -> None:
    """All of it."""
    for each in paid:
        who = each.who
        await talk.desk.quotas.give_back(who.platform, who.asker, place_charged(who), each.cost)

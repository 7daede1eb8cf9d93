"""Who is answered, whether anything new is taken at the moment, and what a request costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.locales import words
from bot.messages import wording
from bot.messages.grammar import Command, Simple
from engine.errors import AskerError, BusyError, LimitError

if TYPE_CHECKING:
    from bot.service.context import Context
    from bot.service.request import Who
    from engine.chat.places import Place
    from engine.plan.plan import Plan

ALWAYS = ("privacy", "forget", "help", "report", "mydata", "withdraw")  # for everybody, at any time


async def admit(context: "Context", command: Command, who: "Who") -> None:
    """Refuse who is kept out, and while nothing new is taken. Raises AskerError."""
    if isinstance(command, Simple) and command.name in ALWAYS:
        return
    around = [name for name in (who.place, who.parent) if name]
    welcome = context.services.places.welcome
    if not operates(context, who) and not await welcome(*who.account, around, who.server):
        raise AskerError(words("talk.blocked", who.locale))
    if isinstance(command, Simple):
        return
    if context.lifecycle.draining:
        raise BusyError(words("talk.draining", who.locale))
    if "paused" in await context.services.places.switched():
        raise BusyError(words("talk.paused", who.locale))


def operates(context: "Context", who: "Who") -> bool:
    return f"{who.platform}:{who.asker}" in context.settings.operators


async def place_of(context: "Context", who: "Who") -> "Place":
    """Read the settings of the place, or else those of the channel or group that it is part of."""
    return await context.services.places.place(who.platform, who.place, who.parent)


def place_charged(who: "Who") -> str | None:
    """Name the place whose bucket is emptied beside the asker's: a channel's with its threads."""
    return None if who.alone else who.parent or who.place


@dataclass(frozen=True, slots=True)
class Paid:
    who: "Who"
    cost: float


async def take(context: "Context", plan: "Plan", who: "Who") -> Paid:
    """Take the cost. Raises LimitError with an honest wait."""
    most = context.settings.asker_waiting
    waiting = await context.services.forgetting.under_way(*who.account)
    if most and len(waiting) >= most:
        raise LimitError(words("talk.too_many", who.locale, count=len(waiting)))
    order = plan.job.order
    cost = context.settings.picture_cost * order.count if order else 1.0
    soon = await context.services.quotas.take(*who.account, place_charged(who), cost)
    if soon is not None:
        key = "talk.wait_place" if soon.place else "talk.wait"
        raise LimitError(words(key, who.locale, wait=wording.seconds(max(1.0, soon.seconds))))
    return Paid(who, cost)


async def charge_all(context: "Context", plans: Sequence["Plan"], who: "Who") -> list[Paid]:
    """Take the cost of them all, or of none. Raises LimitError."""
    paid: list[Paid] = []
    try:
        for plan in plans:
            paid.append(await take(context, plan, who))
    except BaseException:  # all or none, whoever is at fault
        await give_back(context, paid)
        raise
    return paid


async def give_back(context: "Context", paid: Sequence[Paid]) -> None:
    for each in paid:
        who = each.who
        await context.services.quotas.give_back(*who.account, place_charged(who), each.cost)

"""Who is answered at all: the operators' lists, and whether anything new is taken at the moment."""

from typing import TYPE_CHECKING

from bot.locales import words
from bot.messages.grammar import Command, Simple
from engine.errors import AskerError, BusyError

if TYPE_CHECKING:
    from bot.service.context import Context
    from bot.service.request import Who
    from engine.chat.places import Place

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

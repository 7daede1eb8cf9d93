"""/styles, /queue, /why and /help: what needs no more than the cards, the queue and the last answer."""

from bot.messages import wording
from bot.messages.grammar import Simple
from bot.service.context import Context
from bot.service.request import Reply, Who, meant


async def styles(context: Context, _command: Simple, who: Who) -> Reply:
    return Reply(wording.styles(context.registry, who.locale))


async def queue(context: Context, _command: Simple, who: Who) -> Reply:
    return Reply(wording.queue(await context.engine.status(), who.locale))


async def why(context: Context, _command: Simple, who: Who) -> Reply:
    return Reply(wording.why(await meant(who, context.engine), context.registry, who.locale))


async def help_text(context: Context, command: Simple, who: Who) -> Reply:
    topic = command.topic if command.name == "help" else ""
    return Reply(wording.help_text(context.registry, topic, who.platform, who.locale))

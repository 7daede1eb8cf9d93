"""/styles, /queue, /why and /help: what needs no more than the cards, the queue and the last answer."""

from bot.messages import draft
from bot.messages.grammar import Simple
from bot.service.context import Context
from bot.service.request import Reply, Who, meant


async def styles(context: Context, _command: Simple, _who: Who) -> Reply:
    """Who can answer."""
    return Reply(draft.styles(context.registry))


async def queue(context: Context, _command: Simple, _who: Who) -> Reply:
    """What waits."""
    return Reply(draft.queue(await context.engine.status()))


async def why(context: Context, _command: Simple, who: Who) -> Reply:
    """Why this expert answered."""
    return Reply(draft.why(await meant(who, context.engine), context.registry))


async def help_text(context: Context, command: Simple, who: Who) -> Reply:
    """All commands, or one."""
    topic = command.topic if command.name == "help" else ""
    return Reply(draft.help_text(context.registry, topic, who.platform))

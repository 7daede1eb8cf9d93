"""The composition root of the conversation: its context, and the table of what answers what."""

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from bot.messages.buttons import Verb
from bot.messages.grammar import Again, Continue, Generate
from bot.service.actions import about_answer, cancel, report
from bot.service.admin import administer, settle
from bot.service.answer import generate
from bot.service.context import Context
from bot.service.delivery import Deliveries
from bot.service.dispatch_table import DispatchTable
from bot.service.inquiries import help_text, queue, styles, why
from bot.service.moderation import GROWTH, Moderation
from bot.service.privacy import ask_to_forget, forget_pressed, privacy
from bot.service.rate_limit import REMEMBERED, Repeats, RequestRate
from bot.service.stories import export, note, stories, tree
from bot.study.study_hooks import add_study

if TYPE_CHECKING:
    from bot.settings import PlatformSettings
    from engine import Engine
    from engine.moderation import Moderator
    from engine.process.services import Services

AT_ONCE = 8  # requests on their way into the ledger; a rush waits, and not for the ledger's writer


def make_context(
    engine: "Engine",
    services: "Services",
    moderator: "Moderator",
    settings: "PlatformSettings",
    *,
    growth: int = GROWTH,
) -> Context:
    """Make all that the conversation needs, its table filled."""
    handlers = DispatchTable()
    context = Context(
        engine=engine,
        services=services,
        settings=settings,
        moderation=Moderation(moderator, services, engine, growth),
        deliveries=Deliveries(engine, services, handlers),
        handlers=handlers,
        hurry=RequestRate(settings.asker_waiting, limited=settings.asker_burst > 0),
        presses=Repeats(REMEMBERED),
        door=asyncio.Semaphore(AT_ONCE),
    )
    _fill(handlers, context)
    add_study(context)
    return context


def _fill(table: DispatchTable, context: Context) -> None:
    asking = partial(generate, context)
    table.streams |= {Generate: asking, Again: asking, Continue: asking}
    table.commands |= {
        "styles": partial(styles, context),
        "why": partial(why, context),
        "queue": partial(queue, context),
        "stories": partial(stories, context),
        "tree": partial(tree, context),
        "export": partial(export, context),
        "note": partial(note, context),
        "notes": partial(note, context),
        "help": partial(help_text, context),
        "start": partial(help_text, context),
        "cancel": partial(cancel, context),
        "privacy": partial(privacy, context),
        "forget": partial(ask_to_forget, context),
        "report": lambda command, who: report(context, command.topic, who),
        "settings": partial(settle, context),
        "admin": partial(administer, context),
    }
    table.verbs |= dict.fromkeys(Verb, partial(about_answer, context))
    table.verbs |= dict.fromkeys((Verb.FORGET, Verb.KEEP), partial(forget_pressed, context))

"""What is told on demand: /styles, /queue, /why, /help, and an answer's footer."""

import asyncio

from bot.locales import spoken, words
from bot.messages import wording
from bot.messages.escape import defang
from bot.messages.grammar import Simple
from bot.service.admission import place_of
from bot.service.context import Context
from bot.service.request import Reply, Who, meant
from engine.events import Cancelled, Finished
from engine.plan.treatment import ARM


async def styles(context: Context, _command: Simple, who: Who) -> Reply:
    return Reply(wording.styles(await asyncio.to_thread(context.registry.learn), who.locale))


async def queue(context: Context, _command: Simple, who: Who) -> Reply:
    return Reply(wording.queue(await context.engine.status(), who.locale))


async def why(context: Context, _command: Simple, who: Who) -> Reply:
    return Reply(wording.why(await meant(who, context.engine), context.registry, who.locale))


async def help_text(context: Context, command: Simple, who: Who) -> Reply:
    topic = command.topic if command.name == "help" else ""
    return Reply(wording.help_text(context.registry, topic, who.platform, who.locale))


async def footer(context: Context, final: Finished | Cancelled, who: Who | str = "en") -> str:
    locale = who.locale if isinstance(who, Who) else who
    notes = [spoken(one, locale) for one in final.notes] if isinstance(final, Finished) else []
    ai = words("footer.ai", locale)
    told = await context.engine.answer(final.job)
    expert = context.registry.named(told.route.expert) if told else None
    if told is None or expert is None:
        return ai
    if told.route.rule.startswith(f"{ARM}:"):
        # in a group it would tell everybody who takes part in the study
        alone = isinstance(who, Who) and who.alone
        key = "experiment.footer" if alone else "experiment.aside"
        return defang("\n".join([*notes, words(key, locale, ai=ai)]))
    reason = ""
    if told.route.rule == "forced" and isinstance(who, Who):
        style = (await place_of(context, who)).style
        if told.request.style == style and "--style" not in told.request.typed:
            reason = words("talk.default_style", who.locale)
    weights = context.registry.weights(expert)
    line = wording.footer(final, expert, told.route, weights, reason=reason, locale=locale)
    label = expert.said("label", locale)
    if label.startswith(ai):  # said once is enough
        line = line.removeprefix(f"{ai} · ")
    return defang("\n".join([*notes, *([label] if label else []), line]))

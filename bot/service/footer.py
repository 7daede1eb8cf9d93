"""Below an answer: what to know about it, who wrote it and why, and that a machine did."""

from bot.locales import words
from bot.messages import wording
from bot.messages.escape import defang
from bot.service.admission import place_of
from bot.service.context import Context
from bot.service.request import Who
from engine.events import Cancelled, Finished
from engine.plan.treatment import ARM


async def footer(context: Context, final: Finished | Cancelled, who: Who | str = "en") -> str:
    notes = final.notes if isinstance(final, Finished) else ()
    told = await context.engine.answer(final.job)
    expert = context.registry.named(told.route.expert) if told else None
    if told is None or expert is None:
        return wording.AI_LINE
    if told.route.rule.startswith(f"{ARM}:"):
        locale = who.locale if isinstance(who, Who) else who
        return defang("\n".join([*notes, words("experiment.footer", locale, ai=wording.AI_LINE)]))
    reason = ""
    if told.route.rule == "forced" and isinstance(who, Who):
        style = (await place_of(context, who)).style
        if told.request.style == style and "--style" not in told.request.typed:
            reason = words("talk.default_style", who.locale)
    line = wording.footer(
        final, expert, told.route, context.registry.weights(expert), reason=reason
    )
    if expert.label.startswith(wording.AI_LINE):  # said once is enough
        line = line.removeprefix(f"{wording.AI_LINE} · ")
    return defang("\n".join([*notes, *([expert.label] if expert.label else []), line]))

"""What is told on demand: /styles, /queue, /why, /help, /privacy, /forget, and an answer's footer."""

import logging
import time

from ulid import ULID

from bot.locales import spoken, words
from bot.messages import wording
from bot.messages.buttons import Press, Verb, button
from bot.messages.escape import defang
from bot.messages.grammar import Simple
from bot.service.admission import place_of
from bot.service.context import Context, mark_of
from bot.service.request import Reply, Who, meant
from engine.errors import AskerError, LedgerError
from engine.events import Cancelled, Finished
from engine.ledger.ledger import new_id
from engine.plan.treatment import ARM


async def styles(context: Context, _command: Simple, who: Who) -> Reply:
    return Reply(wording.styles(context.registry, who.locale))


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
    if expert.label.startswith(wording.AI_LINE):  # said once is enough
        line = line.removeprefix(f"{ai} · ")
    return defang("\n".join([*notes, *([expert.label] if expert.label else []), line]))


QUESTION_SECONDS = 600.0  # /forget's question is answered within these

log = logging.getLogger(__name__)


async def privacy(context: Context, _command: Simple, who: Who) -> Reply:
    """Show the notice, which needs no database."""
    contact = context.settings.contact
    tail = words("privacy.contact", who.locale, contact=contact) if contact else ""
    kind = "terminal" if who.platform == "terminal" else "text"
    hours = context.services.terminal_hours
    notice = words(f"privacy.{kind}", who.locale, contact=tail, hours=hours)
    title = context.handlers.study.title
    if title:
        notice += "\n\n" + words("privacy.study", who.locale, title=title)
    return Reply(notice, private=True)


async def ask_to_forget(context: Context, _command: Simple, who: Who) -> Reply:
    """Ask first; then a button deletes that only its asker can press, for ten minutes."""
    mark, question = mark_of(context, who), new_id()
    yes = button(Verb.FORGET, question, mark, locale=who.locale)
    no = button(Verb.KEEP, question, mark, locale=who.locale)
    return Reply(words("talk.forget_ask", who.locale), private=True, ask=(yes, no))


async def forget_pressed(context: Context, press: Press, who: Who) -> Reply:
    """Delete or keep. Raises AskerError for somebody else's question, and for an old one."""
    if press.argument != mark_of(context, who):
        raise AskerError(words("talk.forget_other", who.locale))
    if press.verb is Verb.KEEP:
        return Reply(words("talk.forget_kept", who.locale), private=True)
    if time.time() - ULID.from_str(press.job).timestamp > QUESTION_SECONDS:
        raise AskerError(words("talk.forget_late", who.locale))
    for job in await context.services.forgetting.under_way(*who.account):
        await context.engine.cancel(job)
    if await context.services.forgetting.settled(*who.account):
        try:
            chat = who.place if who.alone else ""
            done = await context.services.forget(*who.account, chat)
        except LedgerError as error:
            log.error("somebody could not be forgotten", extra={"why": str(error)})
            raise AskerError(words("talk.forget_failed", who.locale)) from error
        told = words("talk.forget_done", who.locale, requests=done.requests)
        if done.lost:
            told += "\n\n" + words("study.lost", who.locale, names=", ".join(done.lost))
        return Reply(told, private=True)
    raise AskerError(words("talk.private_running", who.locale))

"""/privacy and /forget: the notice, and the deletion of everything of one person, asked for twice."""

import logging
import time

from ulid import ULID

from bot.locales import words
from bot.messages.buttons import Press, Verb, button
from bot.messages.grammar import Simple
from bot.messages.split import joined
from bot.service.context import Context, mark_of
from bot.service.request import Reply, Who
from engine.errors import AskerError, LedgerError
from engine.ledger.ledger import new_id

QUESTION_SECONDS = 600.0  # /forget's question is answered within these

log = logging.getLogger(__name__)


async def privacy(context: Context, _command: Simple, who: Who) -> Reply:
    """Show the notice, which needs no database."""
    contact = context.settings.contact
    tail = words("privacy.contact", who.locale, contact=contact) if contact else ""
    kind = "terminal" if who.platform == "terminal" else "text"
    notice = words(f"privacy.{kind}", who.locale, contact=tail, hours=who.hours)
    study = context.services.agreements.study
    if study is not None:
        title = study.file.said("title", who.locale)
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
        told: list[str] = []
        try:
            chat = who.place if who.alone else ""
            told = await context.handlers.study.leaving(who)
            done = await context.services.forget(*who.account, chat)
        except LedgerError as error:
            log.error("somebody could not be forgotten", extra={"why": str(error)})
            raise AskerError(joined(words("talk.forget_failed", who.locale), *told)) from error
        said = words("talk.forget_done", who.locale, requests=done.requests)
        lost = words("study.lost", who.locale, names=", ".join(done.lost)) if done.lost else ""
        return Reply(joined(said, lost, *told), private=True)
    raise AskerError(words("talk.private_running", who.locale))

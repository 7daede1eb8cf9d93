"""What a press of a button does, and who may: the right is asked for at every press."""

import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from ulid import ULID

from bot.locales import words
from bot.messages import draft
from bot.messages.buttons import ANYBODY, Press, Verb, button
from bot.messages.grammar import Again, Continue, Simple
from bot.messages.options import Options
from bot.service.request import EXPIRED, Reply, Who
from bot.study.consent import consent_pressed, mark_of
from bot.study.pair import stop
from bot.study.withdrawal import data_pressed
from bot.voting import voted
from engine.errors import AskerError, LedgerError
from engine.events import FINAL_STATES, Event, Finished, is_final
from engine.ledger.ledger import new_id
from engine.plan.job import Answer
from engine.plan.picture import MOST_PICTURES

if TYPE_CHECKING:
    from bot.service.service import ChatService

log = logging.getLogger(__name__)

QUESTION_SECONDS = 600.0  # /forget's question is answered within these
TWICE_SECONDS = 4.0  # a second press within these is the same press
JUDGING = frozenset({Verb.VOTE, Verb.BECAUSE, Verb.GUESS, Verb.MORE, Verb.ANSWER})
OWED = frozenset({Verb.REPORT, Verb.DELETE, Verb.CANCEL})  # to those who are kept out, too
BLAMES = ("dull", "manner", "offensive", "broken", "other")
_CHANGING = frozenset({Verb.CONTINUE, Verb.AGAIN, Verb.STYLE, Verb.VARY, Verb.COUNT})
_KEPT = frozenset({Verb.WHY, Verb.ORIGINAL, *_CHANGING})  # these need the words to be there still


async def pressed(
    talk: "ChatService", press: Press, who: Who
) -> "Reply | AsyncGenerator[Event | Reply]":
    """The reply. Raises AskerError for who may not, and for what has expired."""
    if press.verb in (Verb.FORGET, Verb.KEEP):
        return await _forget(talk, press, who)
    if press.verb is Verb.CONSENT:
        return await consent_pressed(talk, press, who)
    if press.verb is Verb.DATA:
        return await data_pressed(talk, press, who)
    if press.verb in JUDGING:
        return await _judged(talk, press, who)
    if press.verb is Verb.CANCEL and await stop(talk, press.job, who):
        return Reply(words("talk.stopping", who.locale), private=True)
    await talk.admit(Simple(name="help" if press.verb in OWED else press.verb), who)
    answer = await talk.core.answer(press.job)
    _entitled(talk, press.verb, answer, who)
    await _note(talk, press, who)
    if press.verb in _KEPT and (answer is None or answer.expired):
        raise AskerError(EXPIRED)
    if press.verb in _CHANGING and answer is not None:
        if talk.twice(press, who, TWICE_SECONDS):
            return Reply(words("talk.already", who.locale), private=True)
        return _anew(talk, press, answer, who)
    match press.verb:
        case Verb.UP | Verb.DOWN:
            value = 1 if press.verb is Verb.UP else -1
            await talk.desk.feedback.rate(who.platform, who.asker, press.job, value)
            return _thanked(press, answer, who)
        case Verb.BLAME:
            reason = press.argument if press.argument in BLAMES else "other"
            await talk.desk.feedback.rate(who.platform, who.asker, press.job, -1, reason)
            return Reply(words("blame.thanks", who.locale), private=True, replaces=True)
        case Verb.CANCEL:
            stopped = await talk.core.cancel(press.job)
            key = "talk.stopping" if stopped else "talk.nothing_to_stop"
            return Reply(words(key, who.locale), private=True)
        case Verb.DELETE:
            return await _delete(talk, answer, who)
        case Verb.REPORT:
            return await report(talk, press.argument, replace(who, reply_to=press.job))
        case Verb.ORIGINAL:
            return await _original(talk, press.job, who)
        case _:
            assert answer is not None  # every verb in _KEPT has one here
            return Reply(draft.why(answer, talk.registry), private=True)


async def _judged(
    talk: "ChatService", press: Press, who: Who
) -> "Reply | AsyncGenerator[Event | Reply]":
    """What is pressed below a pair, a passage or a question."""
    await talk.admit(Simple(name=press.verb), who)
    match press.verb:
        case Verb.VOTE | Verb.BECAUSE:
            return await voted(talk, press, who)
        case Verb.GUESS:
            return await talk.guessing.pressed(press, who)
        case Verb.MORE:
            return await talk.guessing.guess(who)
        case _:
            return await talk.questions.answered(press, who)


def _thanked(press: Press, answer: Answer | None, who: Who) -> Reply:
    """Thanks; the asker of an answer that was not good is asked what was not."""
    told = words(f"talk.thanks_{press.verb}", who.locale)
    mine = answer is not None and answer.request.asker == who.asker
    if press.verb is Verb.UP or not mine:
        return Reply(told, private=True)
    ask = tuple(
        button(Verb.BLAME, press.job, reason, label=words(f"blame.{reason}", who.locale))
        for reason in BLAMES
    )
    return Reply(f"{told} {words('blame.ask', who.locale)}", private=True, ask=ask)


async def _note(talk: "ChatService", press: Press, who: Who) -> None:
    """For the study, if the answer is in it."""
    kind = "cancel" if press.verb is Verb.CANCEL else "press"
    detail = {"button": press.verb.value, "argument": press.argument}
    await talk.desk.agreements.event(
        kind, press.job, platform=who.platform, asker=who.asker, detail=detail
    )


def _entitled(talk: "ChatService", verb: Verb, answer: Answer | None, who: Who) -> None:
    """Raises AskerError for a press that is somebody else's to make."""
    if talk.operates(who):
        return
    asked = answer.request if answer else None
    if asked and (asked.platform, asked.asker) == (who.platform, who.asker):
        return
    here = answer is None or _asked_here(talk, answer, who)
    if here and verb is Verb.DELETE and (who.manager or who.private):
        return
    if asked is None or not asked.asker:  # nobody's
        if here and asked and verb is Verb.REPORT:
            return
        late = verb in (Verb.DELETE, Verb.REPORT)
        raise AskerError(words("talk.nobodys", who.locale) if late else EXPIRED)
    if not (here and verb in ANYBODY):
        raise AskerError(words("talk.not_yours", who.locale))


def _asked_here(talk: "ChatService", answer: Answer, who: Who) -> bool:
    """Whether it was asked in this chat; of what is nobody's, as far as its record still says."""
    asked = answer.request
    if asked.asker:
        return (asked.platform, asked.place) == (who.platform, who.place)
    if not answer.spot:  # it may be here
        return who.private or who.manager
    return answer.spot == talk.desk.ledger.place(who.platform, who.place)


def _anew(
    talk: "ChatService", press: Press, answer: Answer, who: Who
) -> "Reply | AsyncGenerator[Event | Reply]":
    """A new answer that takes up this one."""
    who = replace(who, reply_to=press.job, typed=f"/{press.verb} {press.argument}".strip())
    order = answer.job.order
    match press.verb:
        case Verb.CONTINUE:
            return talk.say(Continue(), who)
        case Verb.STYLE if not press.argument:
            return _styles(talk, press, answer, who)
        case Verb.STYLE:
            return talk.say(Again(options=Options(style=press.argument)), who)
        case Verb.VARY:
            step = order.count if order else 1
            return talk.say(Again(options=Options(seed=answer.job.seed + step)), who)
        case Verb.COUNT:
            count = order.count if order else 1
            if count >= MOST_PICTURES:
                raise AskerError(words("talk.no_more", who.locale))
            options = Options(count=min(MOST_PICTURES, 2 * count), seed=answer.job.seed)
            return talk.say(Again(options=options), who)
        case _:
            return talk.say(Again(), who)


def _styles(talk: "ChatService", press: Press, answer: Answer, who: Who) -> Reply:
    """One button for every other style."""
    experts = talk.registry.of_command(answer.request.command)
    others = [expert for expert in experts if expert.name != answer.route.expert]
    if not others:
        return Reply(words("talk.one_style", who.locale), private=True)
    ask = tuple(button(Verb.STYLE, press.job, e.name, label=e.title) for e in others[:20])
    return Reply(words("talk.which_style", who.locale), private=True, ask=ask)


async def _delete(talk: "ChatService", answer: Answer | None, who: Who) -> Reply:
    """The message goes, and what it said goes from the record."""
    if answer is not None and answer.state not in FINAL_STATES:
        await talk.core.cancel(answer.job.id)
        await talk.lost(answer.job.id)
    if answer is not None and (answer.request.asker or answer.spot):
        await talk.desk.hide(answer.job.id)  # and what still comes of it is not kept
    return Reply(words("talk.deleted", who.locale), private=True, deletes=True)


async def _original(talk: "ChatService", job: str, who: Who) -> Reply:
    """The files as they were drawn."""
    async with aclosing(talk.follow(job, who)) as events:
        async for event in events:
            if isinstance(event, Reply):
                return event
            if isinstance(event, Finished) and event.pictures:
                return Reply(draft.AI_LINE, pictures=event.pictures)
            if is_final(event):
                break
    raise AskerError(words("talk.gone_pictures", who.locale))


async def report(talk: "ChatService", reason: str, who: Who) -> Reply:
    """Note it for the operators; what so many people report as they have set is hidden at once."""
    if who.reply_to is None:
        answer = await talk.core.last(who.platform, who.asker, who.place)
    else:
        answer = await talk.core.answer(who.reply_to)
    if answer is None:
        raise AskerError(words("talk.report_what", who.locale))
    if not _asked_here(talk, answer, who):
        raise AskerError(words("talk.report_elsewhere", who.locale))
    job = answer.job.id
    count = await talk.desk.feedback.report(who.platform, who.asker, job, reason)
    unknown = not (answer.request.asker or answer.spot)  # of another chat, it may be
    if unknown or not 0 < talk.settings.reports_to_hide <= count:
        return Reply(words("talk.reported", who.locale), private=True)
    await talk.desk.hide(job)
    return Reply(words("talk.reported_hidden", who.locale), private=True, deletes=True)


async def ask_to_forget(talk: "ChatService", who: Who) -> Reply:
    """The first step; the second is a button that only its asker can press, for ten minutes."""
    mark, question = mark_of(talk, who), new_id()
    yes = button(Verb.FORGET, question, mark, locale=who.locale)
    no = button(Verb.KEEP, question, mark, locale=who.locale)
    return Reply(words("talk.forget_ask", who.locale), private=True, ask=(yes, no))


async def _forget(talk: "ChatService", press: Press, who: Who) -> Reply:
    if press.argument != mark_of(talk, who):
        raise AskerError(words("talk.forget_other", who.locale))
    if press.verb is Verb.KEEP:
        return Reply(words("talk.forget_kept", who.locale), private=True)
    if time.time() - ULID.from_str(press.job).timestamp > QUESTION_SECONDS:
        raise AskerError(words("talk.forget_late", who.locale))
    for job in await talk.desk.under_way(who.platform, who.asker):
        await talk.core.cancel(job)
    if await talk.desk.settled(who.platform, who.asker):
        try:
            done = await talk.desk.forget(who.platform, who.asker)
        except LedgerError as error:
            log.error("somebody could not be forgotten", extra={"why": str(error)})
            raise AskerError(words("talk.forget_failed", who.locale)) from error
        told = words("talk.forget_done", who.locale, requests=done.requests)
        if done.lost:
            told += "\n\n" + words("study.lost", who.locale, names=", ".join(done.lost))
        return Reply(told, private=True)
    raise AskerError(words("talk.private_running", who.locale))

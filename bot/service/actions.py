"""What a press of a button does, and who may: the right is asked for at every press."""

from contextlib import aclosing
from dataclasses import replace

from bot.locales import words
from bot.messages import wording
from bot.messages.buttons import ANYBODY, Press, Verb, button
from bot.messages.grammar import Again, Continue, Simple
from bot.messages.options import Options
from bot.service.admission import operates
from bot.service.answer import follow, note
from bot.service.context import Context
from bot.service.dispatch_table import GoOn, Response
from bot.service.request import Reply, Who, past
from bot.service.stories import drop, shown_tree, step
from engine.errors import AskerError
from engine.events import FINAL_STATES, Finished, is_final
from engine.plan.job import Answer
from engine.plan.picture import MOST_PICTURES

TWICE_SECONDS = 4.0  # a second press within these is the same press
_CHANGING = frozenset({Verb.CONTINUE, Verb.AGAIN, Verb.STYLE, Verb.VARY, Verb.COUNT})
# these need the words to be there still
_KEPT = frozenset({Verb.WHY, Verb.ORIGINAL, Verb.TREE, Verb.STEP, Verb.DROP, *_CHANGING})


async def about_answer(context: Context, press: Press, who: Who) -> Response | GoOn:
    """Do what a button below an answer says. Raises AskerError for who may not, and what has expired."""
    if press.verb is Verb.CANCEL and await context.handlers.study.stop(who, press.job):
        return Reply(words("talk.stopping", who.locale), private=True)
    answer = await context.engine.answer(press.job)
    _entitled(context, press.verb, answer, who)
    kind = "cancel" if press.verb is Verb.CANCEL else "press"
    detail = {"button": press.verb.value, "argument": press.argument}
    await context.services.agreements.event(kind, press.job, *who.account, detail)
    if press.verb in _KEPT and (answer is None or answer.expired):
        raise past(who)
    if press.verb in _CHANGING and answer is not None:
        if not context.presses.new((who.platform, who.asker, press), TWICE_SECONDS):
            return Reply(words("talk.already", who.locale), private=True)
        return _anew(context, press, answer, who)
    match press.verb:
        case Verb.UP | Verb.DOWN:
            value = 1 if press.verb is Verb.UP else -1
            await context.services.feedback.rate(*who.account, press.job, value)
            return Reply(words(f"talk.thanks_{press.verb}", who.locale), private=True)
        case Verb.CANCEL:
            return _stopped(await context.engine.cancel(press.job), who, private=True)
        case Verb.DELETE:
            return await _delete(context, press.job, answer, who)
        case Verb.REPORT:
            return await report(context, press.argument, replace(who, reply_to=press.job))
        case Verb.ORIGINAL:
            return await _original(context, press.job, who)
    assert answer is not None  # the others are in _KEPT
    if press.verb in (Verb.TREE, Verb.STEP):
        shown = shown_tree if press.verb is Verb.TREE else step
        return await shown(context, answer, who)
    if press.verb is Verb.DROP:
        return await drop(context, press.argument, answer, who)
    return Reply(wording.why(answer, context.registry, who.locale), private=True)


async def cancel(context: Context, _command: Simple, who: Who) -> Reply:
    """Stop their comparison that is under way, else the newest of their answers that are."""
    await note(context, "cancel", who)
    if await context.handlers.study.stop(who):
        return _stopped(True, who)
    jobs = await context.services.forgetting.under_way(*who.account)
    for job in sorted(jobs, reverse=True):
        if await context.engine.cancel(job):
            return _stopped(True, who)
    return _stopped(False, who)


def _stopped(done: bool, who: Who, *, private: bool = False) -> Reply:
    key = "talk.stopping" if done else "talk.nothing_to_stop"
    return Reply(words(key, who.locale), private=private)


def _entitled(context: Context, verb: Verb, answer: Answer | None, who: Who) -> None:
    """Refuse a press that is somebody else's to make. Raises AskerError."""
    if operates(context, who):
        return
    asked = answer.request if answer else None
    if asked and (asked.platform, asked.asker) == who.account:
        return
    here = answer is None or _asked_here(context, answer, who)
    if here and verb is Verb.DELETE and (who.manager or who.alone):
        return
    if asked is None or not asked.asker:  # nobody's
        if here and asked and verb is Verb.REPORT:
            return
        late = verb in (Verb.DELETE, Verb.REPORT)
        raise AskerError(words("talk.nobodys", who.locale)) if late else past(who)
    if not (here and verb in ANYBODY):
        raise AskerError(words("talk.not_yours", who.locale))


def _asked_here(context: Context, answer: Answer, who: Who) -> bool:
    """Say whether it was asked in this chat; of what is nobody's, as far as its record still says."""
    asked = answer.request
    if asked.asker:
        return (asked.platform, asked.place) == (who.platform, who.place)
    if not answer.spot:  # it may be here
        return who.alone or who.manager
    return answer.spot == context.services.ledger.place(who.platform, who.place)


def _anew(context: Context, press: Press, answer: Answer, who: Who) -> Reply | GoOn:
    who = replace(who, reply_to=press.job, typed=f"/{press.verb} {press.argument}".strip())
    count = answer.job.order.count if answer.job.order else 1
    match press.verb:
        case Verb.CONTINUE:
            return GoOn(Continue(), who)
        case Verb.STYLE if not press.argument:
            return _styles(context, press, answer, who)
        case Verb.STYLE:
            return GoOn(Again(options=Options(style=press.argument)), who)
        case Verb.VARY:
            return GoOn(Again(options=Options(seed=answer.job.seed + count)), who)
        case Verb.COUNT:
            if count >= MOST_PICTURES:
                raise AskerError(words("talk.no_more", who.locale))
            options = Options(count=min(MOST_PICTURES, 2 * count), seed=answer.job.seed)
            return GoOn(Again(options=options), who)
        case _:
            return GoOn(Again(), who)


def _styles(context: Context, press: Press, answer: Answer, who: Who) -> Reply:
    experts = context.registry.of_command(answer.request.command)
    others = [expert for expert in experts if expert.name != answer.route.expert]
    if not others:
        return Reply(words("talk.one_style", who.locale), private=True)
    ask = tuple(
        button(Verb.STYLE, press.job, e.name, label=e.said("title", who.locale))
        for e in others[:20]
    )
    return Reply(words("talk.which_style", who.locale), private=True, ask=ask)


async def _delete(context: Context, job: str, answer: Answer | None, who: Who) -> Reply:
    if answer is not None and answer.state not in FINAL_STATES:
        await context.engine.cancel(answer.job.id)
        await context.deliveries.lost(answer.job.id)
    if answer is not None and (answer.request.asker or answer.spot):
        await context.services.feedback.hide(answer.job.id)  # what still comes is not kept either
    return Reply(words("talk.deleted", who.locale), private=True, deletes=job)


async def _original(context: Context, job: str, who: Who) -> Reply:
    async with aclosing(follow(context, job, who)) as events:
        async for event in events:
            if isinstance(event, Reply):
                return event
            if isinstance(event, Finished) and event.pictures:
                return Reply(words("footer.ai", who.locale), pictures=event.pictures)
            if is_final(event):
                break
    raise past(who, "gone_pictures")


async def report(context: Context, reason: str, who: Who) -> Reply:
    """Note it for the operators, and hide at once what as many report as they have set."""
    if who.reply_to is None:
        answer = await context.engine.last(*who.account, who.place)
    else:
        answer = await context.engine.answer(who.reply_to)
    if answer is None:
        raise AskerError(words("talk.report_what", who.locale))
    if not _asked_here(context, answer, who):
        raise AskerError(words("talk.report_elsewhere", who.locale))
    job = answer.job.id
    count = await context.services.feedback.report(*who.account, job, reason)
    unknown = not (answer.request.asker or answer.spot)  # of another chat, it may be
    if unknown or not 0 < context.settings.reports_to_hide <= count:
        return Reply(words("talk.reported", who.locale), private=True)
    await context.services.feedback.hide(job)
    return Reply(words("talk.reported_hidden", who.locale), private=True, deletes=job)

"""One answer, from its request to its last event: planned, moderated, paid for, accepted, watched."""

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from bot.locales import words
from bot.messages.grammar import Again, Continue, Generate
from bot.messages.normalise import greets, language_of_text
from bot.service.admission import Paid, give_back, place_of, take
from bot.service.dispatch_table import Events, Step, Stream, Treated
from bot.service.moderation import RefusedError, Screening
from bot.service.request import Reply, Who, request_of
from engine.events import Cancelled, Event, Failed, Finished
from engine.moderation import Content, Stage

if TYPE_CHECKING:
    from bot.service.context import Context
    from engine.plan.job import Answer
    from engine.plan.plan import Plan

Asking = Generate | Again | Continue


async def generate(context: "Context", command: Asking, who: Who) -> Stream:
    """Yield ACCEPTED, then the answer's events; or a question that comes first. Raises AskerError."""
    study = context.handlers.study
    text = "" if isinstance(command, Again) else command.text
    if _only_greets(context, command, text):
        yield Reply(text=words("talk.hello", who.locale))
        return
    with context.hurry.asking(who):
        async with context.door:
            plan = await _planned(context, command, who)
            treated = await study.treat(command, plan, who) if study.title else None
            if isinstance(treated, Reply):
                yield treated
                return
            plan = treated.plan if treated else plan
            await check_request(context, plan, who, text)
            if isinstance(command, Again):
                await note(context, "regenerate", who)
            paid = await _accept(context, plan, treated, who)
        job = plan.job.id
        screening = screening_of(context, plan, who)
        try:
            yield Step.ACCEPTED
            async with aclosing(context.engine.follow(job)) as events:
                async for event in events:
                    shown = await screening.shown(event)
                    context.deliveries.take_in_hand(job, event)
                    empty = isinstance(shown, Cancelled) and not shown.text
                    if empty or isinstance(shown, Reply | Failed):
                        await give_back(context, [paid])
                    if treated:
                        await treated.shown(shown)
                    yield _with_notes(shown, text, who, treated.note if treated else "")
                    if isinstance(shown, Reply):
                        return
        finally:
            context.deliveries.let_go(job)


def _only_greets(context: "Context", command: Asking, text: str) -> bool:
    if not isinstance(command, Generate) or not greets(text):
        return False
    return context.registry.of_command(command.command)[0].medium == "text"


async def _accept(context: "Context", plan: "Plan", treated: Treated | None, who: Who) -> Paid:
    """Take the price and put the job on record."""
    paid = await take(context, plan, who)
    context.deliveries.take_in_hand(plan.job.id)  # before anybody who looks for debts can see it
    try:
        await context.engine.ask(plan)
        if treated:
            await treated.accepted()
    except BaseException:  # what was not taken costs nothing, whoever is at fault
        context.deliveries.drop(plan.job.id)
        await give_back(context, [paid])
        raise
    return paid


async def follow(context: "Context", job: str, who: Who | None = None) -> Events:
    """Follow a job that was accepted earlier, moderated as it was then."""
    answer = await context.engine.answer(job)
    if answer is None:
        return
    asked = answer.request
    who = who or Who(platform=asked.platform, asker=asked.asker, place=asked.place)
    screening = screening_of(context, answer, who)
    async with aclosing(context.engine.follow(job)) as events:
        async for event in events:
            yield (shown := await screening.shown(event))
            if isinstance(shown, Reply):
                return


def screening_of(context: "Context", of: "Plan | Answer", who: Who) -> Screening:
    asked = of.request
    content = Content(text=asked.text, command=asked.command, medium=of.job.medium)
    return Screening(context.moderation, who, content, keep=not asked.private)


async def _planned(context: "Context", command: Asking, who: Who) -> "Plan":
    """Plan in the place's default style where the request itself calls for nobody by a word."""
    request = await request_of(command, who, context.engine)
    request = replace(request, treatment=None)  # that of an earlier answer
    plan = await asyncio.to_thread(context.engine.plan, request)
    if not isinstance(command, Generate) or plan.route.rule not in ("default", "semantic"):
        return plan
    style = (await place_of(context, who)).style
    if style not in [expert.name for expert in context.engine.registry.of_command(command.command)]:
        return plan
    return context.engine.plan(replace(request, style=style), plan.job.id)


async def check_request(context: "Context", plan: "Plan", who: Who, typed: str = "") -> None:
    """Moderate what was typed and the prompt. Raises RefusedError; then there will be no job."""
    request, medium = plan.request, plan.job.medium
    prompt = plan.job.prompt if medium == "text" else request.text
    contents = [
        (stage, Content(text=text, command=request.command, medium=medium))
        for stage, text in ((Stage.INPUT, typed), (Stage.PROMPT, prompt))
        if text or stage is Stage.PROMPT
    ]
    try:
        await context.moderation.admit(contents, who, None if request.private else plan.job.id)
    except RefusedError as refused:
        await context.services.agreements.refused(plan, refused.judged)
        raise


async def note(context: "Context", kind: str, who: Who) -> None:
    """Tell the study what is done with the answer that somebody means, if there is one."""
    if not context.handlers.study.title:
        return
    last = await context.engine.last(*who.account, who.place)
    job = who.reply_to or (last.job.id if last else None)
    if job is not None:
        await context.services.agreements.event(kind, job, *who.account)


def _with_notes(event: Event | Reply, text: str, who: Who, told: str) -> Event | Reply:
    if not isinstance(event, Finished):
        return event
    foreign = language_of_text(text) != "en"
    english = words("talk.english", who.locale) if foreign else ""
    more = tuple(note for note in (told, english) if note)
    return replace(event, notes=(*event.notes, *more)) if more else event

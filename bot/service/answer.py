"""One answer, from its request to its last event: admitted by moderation, paid for, and watched."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from bot.locales import words
from bot.messages.grammar import Again, Continue, Generate
from bot.messages.language import looks_english
from bot.service.moderation import RefusedError
from bot.service.quota import give_back, take
from bot.service.request import Reply, Who, request_of
from bot.study.treatment import expose, treat
from engine.engine import events_of
from engine.events import Cancelled, Event, Failed, Finished
from engine.ledger.ledger import new_id
from engine.moderation import Content, Stage
from engine.plan.cards import Expert
from engine.plan.job import Request
from engine.plan.prompt import assemble
from engine.plan.router import route
from engine.plan.treatment import route_of

if TYPE_CHECKING:
    from bot.service.service import ChatService


async def generate(
    talk: "ChatService", command: Generate | Again | Continue, who: Who
) -> AsyncGenerator[Event | Reply]:
    """The events of an answer. Raises AskerError, whose words are for the asker."""
    command = await _with_place_style(talk, command, who)
    request = await request_of(command, who, talk.core)
    request = replace(request, treatment=None)  # of an answer that this one takes up
    chosen = route_of(request, talk.registry)
    expert = talk.registry[chosen.expert]
    keep = not request.private
    job = new_id()
    treated = await treat(talk, command, request, expert, job, who)
    if isinstance(treated, Reply):
        yield treated
        return
    if treated is not None:
        request, expert = treated.request, treated.expert
        chosen = route_of(request, talk.registry)
    try:
        await _moderate(talk, command, request, expert, who, job if keep else None)
    except RefusedError as refused:
        await talk.desk.refused(request, chosen, expert.medium, refused.judged)
        raise
    if isinstance(command, Again):
        await talk.note("regenerate", who)
    paid = await take(talk, request, expert, who)
    content = Content(text=request.text, command=request.command, medium=expert.medium)
    accepted = False
    try:
        events = talk.guard.watch(events_of(talk.core, request, job), who, content, keep=keep)
        async with aclosing(events):
            async for event in events:
                if treated is not None and not accepted:
                    await expose(talk, treated, job)
                accepted = True
                talk.take_in_hand(job, event)
                if isinstance(event, Failed | Cancelled) and not getattr(event, "text", ""):
                    await give_back(talk, [paid])
                if treated is not None:
                    await _unscored(talk, event, job)
                told = treated.told if treated is not None else ""
                yield _with_note(event, command, who, told)
    finally:
        if not accepted:  # refused, or a fault of ours: what was not taken costs nothing
            await give_back(talk, [paid])
        talk.let_go(job)


async def _with_place_style(
    talk: "ChatService", command: Generate | Again | Continue, who: Who
) -> Generate | Again | Continue:
    """The place's default style, where the request itself calls for nobody."""
    if not isinstance(command, Generate) or command.options.style:
        return command
    style = (await talk.place(who)).style
    names = [expert.name for expert in talk.registry.of_command(command.command)]
    if style not in names:
        return command
    if route(command.command, command.text, None, talk.registry).rule != "default":
        return command
    return replace(command, options=replace(command.options, style=style))


async def check_prompt(
    talk: "ChatService", request: Request, expert: Expert, who: Who, job: str
) -> None:
    """Moderation before a job. Raises RefusedError."""
    asked = Generate(command=request.command, text=request.text)
    try:
        await _moderate(talk, asked, request, expert, who, job)
    except RefusedError as refused:
        chosen = route_of(request, talk.registry)
        await talk.desk.refused(request, chosen, expert.medium, refused.judged)
        raise


async def _moderate(
    talk: "ChatService",
    command: Generate | Again | Continue,
    request: Request,
    expert: Expert,
    who: Who,
    job: str | None,
) -> None:
    """Input and prompt; without a job nothing that passes is noted. Raises RefusedError."""
    contents = []
    if isinstance(command, Generate | Continue) and command.text:
        typed = Content(text=command.text, command=request.command, medium=expert.medium)
        contents.append((Stage.INPUT, typed))
    prompt = request.text
    if expert.medium == "text":
        prompt, _ = assemble(expert.template.text, request.text, request.beginning)
    whole = Content(text=prompt, command=request.command, medium=expert.medium)
    await talk.guard.admit([*contents, (Stage.PROMPT, whole)], who, job)


async def _unscored(talk: "ChatService", event: Event | Reply, job: str) -> None:
    """An answer of an experiment that failed, or was stopped, is no exposure."""
    why = {Reply: "moderated", Failed: "failed", Cancelled: "cancelled"}.get(type(event))
    if why is not None and talk.desk.lab is not None:
        await talk.desk.lab.exposures.unanswered(job, why)


def _with_note(
    event: Event | Reply, command: Generate | Again | Continue, who: Who, told: str = ""
) -> Event | Reply:
    """A kind word beside an answer to what was not English; and what else there is to tell."""
    text = "" if isinstance(command, Again) else command.text
    if isinstance(event, Finished) and told:
        event = replace(event, notes=(*event.notes, told))
    if isinstance(event, Finished) and not looks_english(text):
        return replace(event, notes=(*event.notes, words("talk.english", who.locale)))
    return event

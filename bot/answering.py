"""One answer, from its request to its last event: admitted by moderation, paid for, and watched."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING

from bot.conversation import Said, Who, request_of
from bot.costs import give_back, take
from bot.english import looks_english
from bot.experimenting import expose, treat
from bot.grammar import Again, Continue, Generate
from bot.guarding import RefusedError
from bot.locales import words
from engine.engine import events_of
from engine.events import Cancelled, Event, Failed, Finished
from engine.jobs import Request
from engine.ledger import new_id
from engine.moderation import Content, Stage
from engine.prompting import assemble
from engine.registry import Expert
from engine.routing import route
from engine.treating import route_of

if TYPE_CHECKING:
    from bot.talk import Talk


async def generate(
    talk: "Talk", command: Generate | Again | Continue, who: Who
) -> AsyncGenerator[Event | Said]:
    """The events of an answer. Raises AskerError, whose words are for the asker."""
    command = await _with_place_style(talk, command, who)
    request = await request_of(command, who, talk.core)
    request = replace(request, treatment=None)  # of an answer that this one takes up
    chosen = route_of(request, talk.registry)
    expert = talk.registry[chosen.expert]
    keep = not request.private
    job = new_id()
    treated = await treat(talk, command, request, expert, job, who)
    if isinstance(treated, Said):
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
    talk: "Talk", command: Generate | Again | Continue, who: Who
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


async def check_prompt(talk: "Talk", request: Request, expert: Expert, who: Who, job: str) -> None:
    """Moderation before a job. Raises RefusedError."""
    asked = Generate(command=request.command, text=request.text)
    try:
        await _moderate(talk, asked, request, expert, who, job)
    except RefusedError as refused:
        chosen = route_of(request, talk.registry)
        await talk.desk.refused(request, chosen, expert.medium, refused.judged)
        raise


async def _moderate(
    talk: "Talk",
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


async def _unscored(talk: "Talk", event: Event | Said, job: str) -> None:
    """An answer of an experiment that failed, or was stopped, is no exposure."""
    why = {Said: "moderated", Failed: "failed", Cancelled: "cancelled"}.get(type(event))
    if why is not None and talk.desk.lab is not None:
        await talk.desk.lab.exposures.unanswered(job, why)


def _with_note(
    event: Event | Said, command: Generate | Again | Continue, who: Who, told: str = ""
) -> Event | Said:
    """A kind word beside an answer to what was not English; and what else there is to tell."""
    text = "" if isinstance(command, Again) else command.text
    if isinstance(event, Finished) and told:
        event = replace(event, notes=(*event.notes, told))
    if isinstance(event, Finished) and not looks_english(text):
        return replace(event, notes=(*event.notes, words("talk.english", who.locale)))
    return event

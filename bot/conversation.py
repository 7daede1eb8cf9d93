"""One command, one reply, on any platform: what a command means, given what was said before."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Literal

from bot import render
from bot.grammar import Again, Command, Continue, Generate, Options, Simple
from engine import Engine
from engine.errors import AskerError
from engine.events import Event
from engine.jobs import Answer, Request
from engine.prompting import split


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who speaks, where, and what was said as it came.

    `place` is where answers go, and within it "the last answer" is looked for.
    """

    platform: str
    asker: str
    place: str
    conversation: str | None = None
    typed: str = ""


@dataclass(frozen=True, slots=True)
class Said:
    """A reply in words, at once."""

    text: str
    kind: Literal["said"] = "said"


async def converse(command: Command, who: Who, core: Engine) -> AsyncGenerator[Event | Said]:
    """The reply: either one Said, or the events of a job. Raises AskerError."""
    match command:
        case Simple():
            yield Said(await _simple(command, who, core))
        case Generate() | Again() | Continue():
            async with aclosing(core.ask(await request_of(command, who, core))) as events:
                async for event in events:
                    yield event


async def request_of(command: Generate | Again | Continue, who: Who, core: Engine) -> Request:
    """The request that a command makes; Again and Continue look at the last answer."""
    match command:
        case Generate(command=name, text=text, options=options):
            return _request(name, text, options, who)
        case Again(options=options):
            last = await _last(who, core)
            same = replace(last.request, seed=None, parent=last.request_id)
            return _with(same, options, who)
        case Continue(text=text, options=options):
            last = await _last(who, core)
            if last.job.order is not None:
                raise AskerError(
                    "A picture cannot be continued. /again draws it with another seed."
                )
            if not last.text:
                raise AskerError("Your last request has no answer to go on from. Try /again.")
            so_far = join(_opening(last), last.text, text)
            on = replace(last.request, seed=None, parent=last.request_id, beginning=so_far)
            return _with(on, options, who)


def _request(command: str, text: str, options: Options, who: Who) -> Request:
    return Request(
        command=command,
        text=text,
        platform=who.platform,
        asker=who.asker,
        place=who.place,
        typed=who.typed,
        style=options.style,
        length=options.length,
        seed=options.seed,
        size=options.size,
        count=options.count,
        negative=options.negative,
        scale=options.scale,
        conversation=who.conversation,
    )


def _with(request: Request, options: Options, who: Who) -> Request:
    """The earlier request, the new options before its own."""
    named = {
        name: value
        for name in ("style", "length", "size", "count", "negative", "scale")
        if (value := getattr(options, name)) is not None
    }
    return replace(
        request,
        **named,
        seed=options.seed,
        conversation=who.conversation,
        typed=who.typed,
    )


def _opening(answer: Answer) -> str:
    """The beginning that the answer went on from."""
    if answer.request.beginning is not None:
        return answer.request.beginning
    parts = split(answer.request.text)
    return parts.beginning if parts.wish else parts.instruction


def join(*pieces: str) -> str:
    """Prose put together, with a space unless punctuation follows.

    >>> join("It rained", ", and rained", "", "Nobody came.")
    'It rained, and rained Nobody came.'
    """
    whole = ""
    for piece in filter(None, (p.strip() for p in pieces)):
        gap = "" if not whole or piece[0] in ",.;:!?…" else " "
        whole += gap + piece
    return whole


async def _last(who: Who, core: Engine) -> Answer:
    last = await core.last(who.platform, who.asker, who.place)
    if last is None:
        raise AskerError("There is nothing to go on from yet. Start with /story, or see /help.")
    return last


async def _simple(command: Simple, who: Who, core: Engine) -> str:
    match command.name:
        case "styles":
            return render.styles(core.registry)
        case "queue":
            return render.queue(await core.status())
        case "why":
            return render.why(await _last(who, core), core.registry)
        case "cancel":
            last = await core.last(who.platform, who.asker, who.place)
            stopped = last is not None and await core.cancel(last.job.id)
            return "Stopping." if stopped else "There is nothing to stop."
        case _:
            return render.help_text(core.registry, command.topic)

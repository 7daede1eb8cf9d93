"""/note and /story notes: the facts that a story is to keep, and what it says of its own past."""

from bot.locales import words
from bot.messages.buttons import Verb, button
from bot.messages.escape import defang
from bot.messages.grammar import Simple
from bot.service.context import Context
from bot.service.request import Reply, Who, meant
from bot.service.stories import in_rows, owned
from engine.errors import AskerError
from engine.moderation import Content, Stage
from engine.plan.job import Answer
from engine.plan.memory import MOST_NOTES, noted

NAME = 16  # characters of a note's keyed name, which a button holds


async def note(context: Context, command: Simple, who: Who) -> Reply:
    """Write a fact on the answer that is meant; without one, show what is written there."""
    here = owned(await meant(who, context.engine), who)
    fact = command.topic
    if not fact:
        return _listed(context, here, here.request.notes, who)
    typed = Content(text=fact, command=here.request.command, medium="text")
    await context.moderation.admit([(Stage.INPUT, typed)], who, None)
    told = words("story.too_many_notes", who.locale, most=MOST_NOTES)

    def added(notes: tuple[str, ...]) -> tuple[str, ...]:
        if len(more := noted(notes, fact)) > MOST_NOTES:
            raise AskerError(told)
        return more

    if await context.services.stories.note(here, added) is None:
        raise AskerError(words("talk.expired", who.locale))
    return Reply(words("story.noted", who.locale), private=True)


async def notes(context: Context, _command: Simple, who: Who) -> Reply:
    here = owned(await meant(who, context.engine), who)
    return _listed(context, here, here.request.notes, who)


async def drop(context: Context, name: str, here: Answer, who: Who) -> Reply:
    """Take a note back, and show the others in its place."""

    def without(notes: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(one for one in notes if _name(context, one) != name)

    left = await context.services.stories.note(owned(here, who), without)
    return _listed(context, here, left or (), who, replaces=True)


def _listed(
    context: Context, here: Answer, notes: tuple[str, ...], who: Who, *, replaces: bool = False
) -> Reply:
    lines = [words("story.notes" if notes else "story.no_notes", who.locale)]
    lines += [f"{number}. {defang(one)}" for number, one in enumerate(notes, 1)]
    if here.request.synopsis:
        lines += ["", words("story.synopsis", who.locale), defang(here.request.synopsis)]
    buttons = tuple(
        button(Verb.DROP, here.job.id, _name(context, one), label=f"✕ {number}")
        for number, one in enumerate(notes, 1)
    )
    text, rows = "\n".join(lines), in_rows(buttons)
    return Reply(text, private=True, literal=True, rows=rows, replaces=replaces)


def _name(context: Context, note: str) -> str:
    return context.services.ledger.vault.lookup("note", note)[:NAME]

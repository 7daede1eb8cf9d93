"""/stories, /story tree, /story export, and the buttons that step between versions."""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise

from ulid import ULID

from bot.locales import words
from bot.messages.book import Book, epub, markdown
from bot.messages.buttons import Button, Verb, button
from bot.messages.escape import defang
from bot.messages.grammar import Simple
from bot.messages.normalise import language_of_text
from bot.service.answer import follow
from bot.service.context import Context
from bot.service.request import Reply, Who, join, meant, opening, past
from engine.chat.stories import Node, path, versions
from engine.errors import AskerError
from engine.events import Cancelled, Finished
from engine.moderation import Content, Stage
from engine.plan.job import Answer
from engine.plan.memory import MOST_NOTES, noted
from engine.plan.prompt import split
from engine.plan.treatment import ARM

GAP = "[…]"
MOST_LINES = 40  # of a tree
TITLE = 60  # characters


def title_of(nodes: Sequence[Node]) -> str:
    """Name a story by the beginning of what was asked for, as far as that is kept."""
    return _title(next((node.answer.request.text for node in nodes if node.kept), GAP))


async def stories(context: Context, _command: Simple, who: Who) -> Reply:
    """List one's own of the last days in this place, each with a button to its tree."""
    found = await context.services.stories.newest(*who.account, who.place)
    if not found:
        raise past(who, "nothing_before")
    lines = [f"{number}. {_title(answer.request.text)}" for number, answer in enumerate(found, 1)]
    ask = tuple(button(Verb.TREE, a.job.id, label=f"{n}") for n, a in enumerate(found, 1))
    head = words("story.list", who.locale)
    return Reply("\n".join([head, *lines]), private=True, literal=True, rows=in_rows(ask))


async def tree(context: Context, _command: Simple, who: Who) -> Reply:
    return await shown_tree(context, await meant(who, context.engine), who)


async def shown_tree(context: Context, here: Answer, who: Who) -> Reply:
    """Show every answer of the story on a line, and buttons to the versions beside this one."""
    nodes = await _nodes(context, here, who)
    lines = [words("story.tree", who.locale, title=title_of(nodes))]
    for node in nodes[:MOST_LINES]:
        said = await _beginning(context, node, who)
        mark = f" ← {words('story.here', who.locale)}" if node.job == here.job.id else ""
        lines.append(f"{'  ' * node.number.count('.')}{node.number}  {said}{mark}")
    if len(nodes) > MOST_LINES:
        lines.append(words("story.more", who.locale, count=len(nodes) - MOST_LINES))
    rows = in_rows(_steps(nodes, here.job.id))
    return Reply("\n".join(lines), private=True, literal=True, rows=rows)


async def _beginning(context: Context, node: Node, who: Who) -> str:
    """Glance at an answer, if it is kept and may be shown."""
    if not node.kept:
        return words("story.gone", who.locale) if node.answer.expired else GAP
    asked, text = node.answer.request, node.answer.text
    content = Content(text=text, command=asked.command, asked=asked.text)
    judged = await context.moderation.check(Stage.OUTPUT_TEXT, content)
    return words("story.held", who.locale) if judged.verdict.stops else _glance(text)


async def step(context: Context, here: Answer, who: Who) -> Reply:
    """Show another version, as it was shown then, with what can be done from there."""
    nodes = await _nodes(context, here, who)
    text = await _told(context, here.job.id, who)
    if isinstance(text, Reply):
        return text
    beside = versions(nodes, here.job.id)
    place = [node.job for node in beside].index(here.job.id) + 1
    head = words("story.version", who.locale, place=place, count=len(beside))
    verbs = (Verb.CONTINUE, Verb.AGAIN, Verb.TREE, Verb.WHY)
    own = tuple(button(verb, here.job.id, locale=who.locale) for verb in verbs)
    mark = " · ".join([words("footer.ai", who.locale), *_voices(context, [here])])
    rows = (own, *in_rows(_steps(nodes, here.job.id)))
    return Reply(f"{head}\n\n{text}\n\n{mark}", literal=True, rows=rows)


async def export(context: Context, _command: Simple, who: Who) -> Reply:
    """Give the line from the story's beginning to this answer as Markdown and EPUB. What is gone by now,
    or may not be shown, leaves a mark."""
    here = await meant(who, context.engine)
    line = path(await _nodes(context, here, who), here.job.id)
    told = [await _told(context, node.job, who) if node.kept else GAP for node in line]
    parts = [text if isinstance(text, str) else GAP for text in told]
    gone = parts.count(GAP)
    if gone == len(parts):
        raise AskerError(words("story.broken", who.locale))
    beginning, answers = opening(line[0].answer), [node.answer for node in line]
    experts = [context.registry.named(a.route.expert) for a in answers]
    labels = [e.said("label", who.locale) for e in experts if e and e.label]
    attribution = [given for e in experts if e for given in e.rights.attribution]
    book = Book(
        id=line[0].job,
        title=title_of(line),
        voices=tuple(_voices(context, answers)),
        date=f"{datetime.fromtimestamp(ULID.from_str(here.job.id).timestamp, UTC):%Y-%m-%d}",
        language=language_of_text(" ".join([beginning, *parts])),
        opening=beginning,
        parts=tuple(join(*both) for both in zip(_added(line), parts, strict=True)),
        notices=tuple(dict.fromkeys([words("story.notice", who.locale), *labels, *attribution])),
    )
    name = f"story-{here.job.id[-6:].lower()}"  # no other's export takes its place
    files = ((f"{name}.md", markdown(book).encode()), (f"{name}.epub", epub(book)))
    said = words("story.export", who.locale, parts=len(line) - gone)
    said += words("story.gaps", who.locale, count=gone) if gone else ""
    return Reply(said, private=True, files=files)


def _added(line: Sequence[Node]) -> list[str]:
    """What was typed between the answers."""
    both = [(a.answer.text.strip(), b.answer.request.beginning or "") for a, b in pairwise(line)]
    return ["", *(b[b.rfind(a) + len(a) :] if a and a in b else "" for a, b in both)]


def owned(here: Answer, who: Who) -> Answer:
    """Give it back if it is one's own, and a story's. Raises AskerError."""
    asked = here.request
    if here.job.order is not None:
        raise AskerError(words("story.picture", who.locale))
    if (asked.platform, asked.asker) != who.account:
        raise AskerError(words("talk.not_yours", who.locale))
    return here


async def _nodes(context: Context, here: Answer, who: Who) -> tuple[Node, ...]:
    return await context.services.stories.tree(owned(here, who))


async def _told(context: Context, job: str, who: Who) -> str | Reply:
    """Read an answer's text, moderated as it would be now; a reply where that holds it back."""
    async with aclosing(follow(context, job, replace(who, reply_to=job))) as events:
        async for event in events:
            if isinstance(event, Reply):
                return event
            if isinstance(event, Finished | Cancelled) and event.text:
                return event.text
    raise past(who)


def _voices(context: Context, answers: list[Answer]) -> list[str]:
    """Name who wrote, once each, but for what is blinded."""
    open_ones = [a for a in answers if not a.route.rule.startswith(f"{ARM}:")]
    experts = [context.registry.named(a.route.expert) for a in open_ones]
    return list(dict.fromkeys(e.title for e in experts if e))


def _steps(nodes: tuple[Node, ...], job: str) -> tuple[Button, ...]:
    beside = versions(nodes, job)
    jobs = [node.job for node in beside]
    place = jobs.index(job) if job in jobs else 0
    steps = ((place - 1, "‹ {}"), (place + 1, "{} ›"))
    return tuple(
        button(Verb.STEP, beside[to].job, label=label.format(beside[to].number))
        for to, label in steps
        if 0 <= to < len(beside) and beside[to].job != job
    )


def in_rows(buttons: tuple[Button, ...]) -> tuple[tuple[Button, ...], ...]:
    return tuple(buttons[start : start + 5] for start in range(0, len(buttons), 5))


def _title(asked: str) -> str:
    return _glance(split(asked).beginning or asked)


def _glance(text: str) -> str:
    text = " ".join(text.split())
    return defang(text if len(text) <= TITLE else text[: TITLE - 1].rstrip() + "…")


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
        raise past(who)
    return Reply(words("story.noted", who.locale), private=True)


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

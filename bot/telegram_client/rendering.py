"""How an answer looks in Telegram, from what is known of it. Pure."""

from bot import render
from bot.buttons import Rows, buttons_for
from bot.defang import defang
from bot.locales import words
from bot.render import Draft
from bot.telegram_client.items import (
    File,
    Item,
    Photo,
    Text,
    Words,
    caption,
    growing,
    parcel,
    plain,
    quiet,
)
from bot.telegram_client.pictures import showable
from engine.events import Cancelled, Failed, Finished
from engine.jobs import Answer
from engine.registry import Registry


def status_of(draft: Draft, registry: Registry, locale: str) -> Item:
    """The line about an answer under way, with the button to cancel it; a picture's preview if any."""
    line = quiet(render.progress(draft))
    rows = buttons_for(draft, registry, locale)
    if draft.preview:
        return Photo(data=draft.preview, text=line, rows=rows)
    return Words(text=line, rows=rows)


def text_of(draft: Draft) -> Text | None:
    """The text that has grown so far."""
    return growing(defang(draft.text)) if draft.text.strip() else None


def items_of(draft: Draft, answer: Answer | None, registry: Registry, locale: str) -> list[Item]:
    """The whole of a final answer, message by message."""
    rows = buttons_for(draft, registry, locale)
    match draft.final:
        case Finished(pictures=pictures) as final if pictures:
            return _pictures(final, closing(final, answer, registry), rows)
        case Finished(text=text) as final:
            lines = closing(final, answer, registry)
            name, whole = f"{_name(answer)}.txt", words("telegram.as_file", locale)
            return parcel(defang(text), lines, rows, name, whole)
        case Cancelled(text=text):
            stopped = words("telegram.stopped", locale)
            lines = (stopped, render.AI_LINE) if text.strip() else (stopped,)
            whole = words("telegram.as_file", locale)
            return parcel(defang(text), lines, rows, f"{_name(answer)}.txt", whole)
        case Failed(message=message):
            return [Words(text=plain(message), rows=rows)]
        case _:
            return [status_of(draft, registry, locale)]


def closing(final: Finished, answer: Answer | None, registry: Registry) -> tuple[str, ...]:
    """What stands below an answer: notes, the expert's label, the footer that says AI-generated."""
    expert = registry.named(answer.route.expert) if answer else None
    if answer is None or expert is None:
        return (*final.notes, render.AI_LINE)
    footer = render.footer(final, expert, answer.route, registry.weights(expert))
    return (*final.notes, *([expert.label] if expert.label else []), footer)


def _pictures(final: Finished, lines: tuple[str, ...], rows: Rows) -> list[Item]:
    """The first picture with its caption and the buttons, then the others with their seeds."""
    first, *rest = final.pictures
    return [
        Photo(data=showable(first.data), text=caption(lines), rows=rows),
        *(Photo(data=showable(p.data), text=caption([f"seed {p.seed}"])) for p in rest),
    ]


def originals(final: Finished, answer: Answer | None) -> list[Item]:
    """The pictures byte for byte, as documents: Telegram recompresses photos."""
    return [
        File(
            data=picture.data,
            name=f"{_name(answer)}-{picture.seed}.png",
            text=caption([render.AI_LINE]),
        )
        for picture in final.pictures
    ]


def _name(answer: Answer | None) -> str:
    return f"pastiche-{answer.route.expert}" if answer else "pastiche"

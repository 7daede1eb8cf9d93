"""How an answer looks in Telegram, from what is known of it. Pure."""

from collections.abc import Iterable

from bot import render
from bot.buttons import Rows, buttons_for
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
from engine.events import Cancelled, Failed, Finished, Picture
from engine.registry import Registry


def status_of(draft: Draft, registry: Registry, locale: str) -> Item:
    """The line about an answer under way, with the button to cancel it; a picture's preview if any."""
    line = quiet(render.progress(draft))
    rows = buttons_for(draft, registry, locale)
    if draft.preview:
        return Photo(data=showable(draft.preview), text=line, rows=rows)
    return Words(text=line, rows=rows)


def text_of(draft: Draft) -> Text | None:
    """The text that has grown so far."""
    return growing(draft.text) if draft.text.strip() else None


def items_of(draft: Draft, footer: str, name: str, registry: Registry, locale: str) -> list[Item]:
    """The whole of a final answer, message by message. `name` is a file's, without its ending."""
    rows = buttons_for(draft, registry, locale)
    whole = words("telegram.as_file", locale)
    match draft.final:
        case Finished(pictures=pictures) as final if pictures:
            return _pictures(final, footer, rows)
        case Finished(text=text):
            return parcel(text, [footer], rows, f"{name}.txt", whole)
        case Cancelled(text=text):
            lines = [words("telegram.stopped", locale), *([render.AI_LINE] if text.strip() else [])]
            return parcel(text, lines, rows, f"{name}.txt", whole)
        case Failed(message=message):
            return [Words(text=plain(message), rows=rows)]
        case _:
            return [status_of(draft, registry, locale)]


def _pictures(final: Finished, footer: str, rows: Rows) -> list[Item]:
    """The first picture with its caption and the buttons, then the others with their seeds."""
    first, *rest = final.pictures
    return [
        Photo(data=showable(first.data), text=caption([footer]), rows=rows),
        *(Photo(data=showable(p.data), text=caption([f"seed {p.seed}"])) for p in rest),
    ]


def originals(pictures: Iterable[Picture], words: str) -> list[Item]:
    """The pictures byte for byte, as documents: Telegram recompresses photos."""
    return [
        File(data=p.data, name=f"pastiche-{p.seed}.png", text=caption([words])) for p in pictures
    ]

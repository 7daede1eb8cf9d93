"""How an answer looks in Telegram, from what is known of it. Pure."""

from collections.abc import Iterable

from bot.locales import words
from bot.messages import draft as render
from bot.messages.buttons import Rows, buttons_for
from bot.messages.draft import Draft
from bot.telegram_client.attachments import showable
from bot.telegram_client.parts import (
    File,
    Part,
    Photo,
    Text,
    TextMessage,
    caption,
    growing,
    parcel,
    plain,
    quiet,
)
from engine.events import Cancelled, Failed, Finished, Picture
from engine.plan.cards import Registry


def status_of(draft: Draft, registry: Registry, locale: str) -> Part:
    """The line about an answer under way, with the button to cancel it; a picture's preview if any."""
    line = quiet(render.progress(draft))
    rows = buttons_for(draft, registry, locale)
    if draft.preview:
        return Photo(data=showable(draft.preview), text=line, rows=rows)
    return TextMessage(text=line, rows=rows)


def text_of(draft: Draft) -> Text | None:
    """The text that has grown so far."""
    return growing(draft.text) if draft.text.strip() else None


def items_of(draft: Draft, footer: str, name: str, registry: Registry, locale: str) -> list[Part]:
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
            return [TextMessage(text=plain(message), rows=rows)]
        case _:
            return [status_of(draft, registry, locale)]


def _pictures(final: Finished, footer: str, rows: Rows) -> list[Part]:
    """The first picture with its caption and the buttons, then the others with their seeds."""
    first, *rest = final.pictures
    return [
        Photo(data=showable(first.data), text=caption([footer]), rows=rows),
        *(Photo(data=showable(p.data), text=caption([f"seed {p.seed}"])) for p in rest),
    ]


def originals(pictures: Iterable[Picture], words: str) -> list[Part]:
    """The pictures byte for byte, as documents: Telegram recompresses photos."""
    return [
        File(data=p.data, name=f"pastiche-{p.seed}.png", text=caption([words])) for p in pictures
    ]

"""What a chat is sent: words, a picture, a file; each with its buttons. Pure.

Every text is kept twice, as HTML and plain, since markup that Telegram refuses is sent plain.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from bot.messages.buttons import Rows
from bot.messages.escape import telegram_html
from bot.messages.split import CAPTION_LIMIT, TELEGRAM_LIMIT, as_file, split, utf16
from bot.service.request import Reply
from bot.telegram_client.attachments import showable

GAP = "\n\n"
SHOWN = 3500  # UTF-16 units of a growing text: its end
OPENING = 900  # UTF-16 units of a text that comes as a file


@dataclass(frozen=True, slots=True)
class Text:
    """The same words for parse_mode HTML and without."""

    html: str
    plain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMessage:
    """A message."""

    text: Text
    rows: Rows = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """A picture as Telegram shows it, recompressed; `data` is a JPEG or PNG file."""

    data: bytes
    text: Text
    rows: Rows = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A document, byte for byte."""

    data: bytes
    name: str
    text: Text
    rows: Rows = ()


Part = TextMessage | Photo | File


def plain(text: str) -> Text:
    """Words without any markup.

    >>> plain("a < b").html
    'a &lt; b'
    """
    return Text(telegram_html(text), text)


def quiet(text: str) -> Text:
    """In italics: what is about an answer and not of it."""
    return Text(f"<i>{telegram_html(text)}</i>", text) if text else Text("", "")


def joined(*texts: Text) -> Text:
    """Below each other, with a blank line between."""
    some = [text for text in texts if text.plain]
    return Text(GAP.join(t.html for t in some), GAP.join(t.plain for t in some))


def growing(text: str, note: str = "") -> Text:
    """An unfinished text: its end if it is long, with a sign that more comes."""
    if utf16(text) > SHOWN:
        text = "… " + split(text[-SHOWN:], SHOWN, utf16)[-1]
    return joined(plain(f"{text} …"), quiet(note))


def parcel(text: str, closing: Iterable[str], rows: Rows, name: str, whole: str) -> list[Part]:
    """A finished text as messages, or as its opening and a file called `name`.

    What closes it, and the buttons, stand below the last message, or below the opening. `whole` says
    that the file holds it all.
    """
    below = quiet("\n".join(line for line in closing if line))
    room = TELEGRAM_LIMIT - utf16(below.plain) - len(GAP)
    if as_file(text, room, utf16):
        opening = split(text, OPENING, utf16)[0] + " …"
        caption = quiet(whole)
        file = File(data=text.encode(), name=name, text=caption)
        return [TextMessage(text=joined(plain(opening), below), rows=rows), file]
    parts = [plain(part) for part in split(text, room, utf16)] or [plain("")]
    last = TextMessage(text=joined(parts[-1], below), rows=rows)
    return [*(TextMessage(text=part) for part in parts[:-1]), last]


def caption(lines: Iterable[str]) -> Text:
    """Below a picture, cut to what fits."""
    text = "\n".join(line for line in lines if line)
    if utf16(text) > CAPTION_LIMIT:
        text = split(text, CAPTION_LIMIT - 2, utf16)[0] + " …"
    return quiet(text)


def said_items(said: Reply) -> list[Part]:
    """Make messages of a reply; what it asks stands below the last. One picture carries its words."""
    files = [File(data=data, name=name, text=plain("")) for name, data in said.files]
    if said.pictures:
        first, *rest = (showable(picture.data) for picture in said.pictures)
        words = split(said.text, CAPTION_LIMIT, utf16)[:1] or [""]
        shown = Photo(data=first, text=plain(words[0]), rows=said.choices)
        return [shown, *(Photo(data=data, text=plain("")) for data in rest), *files]
    parts = [plain(part) for part in split(said.text, TELEGRAM_LIMIT, utf16)]
    last, rows = len(parts) - 1, said.choices
    return [
        *(TextMessage(text=p, rows=rows if n == last else ()) for n, p in enumerate(parts)),
        *files,
    ]

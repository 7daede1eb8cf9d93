"""What a chat is sent: words, a picture, a file; each with its buttons, without markup. Pure."""

import io
from collections.abc import Iterable
from dataclasses import dataclass, replace

from bot.locales import spoken, words
from bot.messages import wording
from bot.messages.buttons import Rows, buttons_for
from bot.messages.draft import Draft
from bot.messages.split import CAPTION_LIMIT, GAP, TELEGRAM_LIMIT, as_file, joined, split, utf16
from bot.service.request import Reply
from engine.events import Cancelled, Failed, Finished, Picture
from engine.plan.cards import Registry

SHOWN = 3500  # UTF-16 units of a growing text: its end
OPENING = 900  # UTF-16 units of a text that comes as a file
# what Telegram shows as a photo: 10 MB, sides of 10,000 together, at most 20 to 1
MAX_BYTES = 10_000_000
MAX_SIDES = 10_000
MAX_RATIO = 20
QUALITIES = (92, 80, 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class TextMessage:
    text: str
    rows: Rows = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Photo:
    """Hold a picture as Telegram shows it, recompressed; `data` is a JPEG or PNG file."""

    data: bytes
    text: str
    rows: Rows = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    data: bytes
    name: str
    text: str
    rows: Rows = ()


Part = TextMessage | Photo | File


def growing(text: str) -> str:
    """Show the end of an unfinished text, with a sign that more comes."""
    if utf16(text) > SHOWN:
        text = "… " + split(text[-SHOWN:], SHOWN, utf16)[-1]
    return f"{text} …"


def parcel(text: str, closing: Iterable[str], rows: Rows, name: str, whole: str) -> list[Part]:
    """Make messages of a finished text, or its opening and a file; `whole` says that it holds it all."""
    below = "\n".join(line for line in closing if line)
    room = TELEGRAM_LIMIT - utf16(below) - len(GAP)
    if as_file(text, room, utf16):
        opening = split(text, OPENING, utf16)[0] + " …"
        file = File(data=text.encode(), name=name, text=whole)
        return [TextMessage(text=joined(opening, below), rows=rows), file]
    *before, last = split(text, room, utf16) or [""]
    end = TextMessage(text=joined(last, below), rows=rows)
    return [*(TextMessage(text=part) for part in before), end]


def caption(lines: Iterable[str]) -> str:
    text = "\n".join(line for line in lines if line)
    if utf16(text) > CAPTION_LIMIT:
        text = split(text, CAPTION_LIMIT - 2, utf16)[0] + " …"
    return text


def grown(draft: Draft, registry: Registry, locale: str) -> TextMessage | Photo:
    """Show an answer under way: a picture's preview, the text so far, or a line about it."""
    line, rows = wording.progress(draft, locale), buttons_for(draft, registry, locale)
    if draft.text.strip():
        return TextMessage(text=growing(draft.text), rows=rows)
    if draft.preview:
        return Photo(data=showable(draft.preview), text=line, rows=rows)
    return TextMessage(text=line, rows=rows)


def parts_of(draft: Draft, footer: str, name: str, registry: Registry, locale: str) -> list[Part]:
    """Make all messages of a final answer. `name` is a file's, without its ending."""
    rows = buttons_for(draft, registry, locale)
    whole = words("telegram.as_file", locale)
    match draft.final:
        case Finished(pictures=[first, *rest]):
            return [
                Photo(data=showable(first.data), text=caption([footer]), rows=rows),
                *(Photo(data=showable(p.data), text=caption([f"seed {p.seed}"])) for p in rest),
            ]
        case Finished(text=text):
            return parcel(text, [footer], rows, f"{name}.txt", whole)
        case Cancelled(text=text):
            ai = words("footer.ai", locale) if text.strip() else ""
            lines = [words("telegram.stopped", locale), ai]
            return parcel(text, lines, rows, f"{name}.txt", whole)
        case Failed(message=message):
            return [TextMessage(text=spoken(message, locale), rows=rows)]
        case _:
            return [grown(draft, registry, locale)]


def originals(pictures: Iterable[Picture], words: str) -> list[Part]:
    said = caption([words])
    return [File(data=p.data, name=f"pastiche-{p.seed}.png", text=said) for p in pictures]


def reply_parts(said: Reply) -> list[Part]:
    """Make messages of a reply; what it asks stands below the last. One picture carries its words."""
    files = [File(data=data, name=name, text="") for name, data in said.files]
    if said.pictures:
        first, *rest = (showable(picture.data) for picture in said.pictures)
        words = split(said.text, CAPTION_LIMIT, utf16)[:1] or [""]
        shown = Photo(data=first, text=words[0], rows=said.choices)
        return [shown, *(Photo(data=data, text="") for data in rest), *files]
    parts = [TextMessage(text=part) for part in split(said.text, TELEGRAM_LIMIT, utf16)]
    if parts:
        parts[-1] = replace(parts[-1], rows=said.choices)
    return [*parts, *files]


def showable(data: bytes) -> bytes:
    """Give the file as it is if Telegram takes it, else a JPEG, smaller until it fits, or padded."""
    from PIL import Image, ImageOps

    with Image.open(io.BytesIO(data)) as opened:
        long, short = max(opened.size), min(opened.size)
        fits = long + short <= MAX_SIDES and long <= MAX_RATIO * short
        if fits and len(data) <= MAX_BYTES:
            return data
        image = opened.convert("RGB")
    if sum(image.size) > MAX_SIDES:
        image.thumbnail((MAX_SIDES // 2, MAX_SIDES // 2))
    least = -(-max(image.size) // MAX_RATIO)
    image = ImageOps.pad(image, (max(image.width, least), max(image.height, least)))
    while True:
        for quality in QUALITIES:
            made = io.BytesIO()
            image.save(made, "JPEG", quality=quality)
            if made.tell() <= MAX_BYTES:
                return made.getvalue()
        image = image.resize((max(1, image.width // 2), max(1, image.height // 2)))

"""From a draft to what Discord shows: text, files, and buttons, whose custom_id is their whole state."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import discord
from discord import ButtonStyle, ui

from bot.locales import spoken, words
from bot.messages import wording
from bot.messages.buttons import PATTERN, Press, Rows, Verb, buttons_for, decode, encode
from bot.messages.buttons import Button as Meant
from bot.messages.draft import Draft
from bot.messages.escape import defang, discord_length, discord_text
from bot.messages.split import DISCORD_LIMIT, as_file, split
from engine.events import Cancelled, Failed, Finished, Picture
from engine.plan.cards import Registry

CURSOR = " ▌"
SMALL = "-# "  # Discord's small print
FIRST_LINES = 1200  # characters of a long answer that stand above its file
ROW = 5  # buttons side by side
MOST = 25  # buttons below one message
MAX_LABEL = 80
QUALITIES = (92, 85, 75, 60, 45, 30)
MAX_FILES = 10  # of a message
_STYLES = {
    Verb.CONTINUE: ButtonStyle.primary,
    Verb.CANCEL: ButtonStyle.danger,
    Verb.FORGET: ButtonStyle.danger,
}
Interaction = discord.Interaction[Any]
File = tuple[str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """Hold what one message shows: text of at most 2000 characters, buttons, files as (name, bytes),
    and words for those who cannot see them."""

    text: str
    rows: Rows = ()
    files: tuple[tuple[str, bytes], ...] = ()
    alt: str = ""


def growing(draft: Draft, registry: Registry, locale: str = "en") -> Part:
    """Show an answer under way: its place in the queue, its step, or the end of its text so far."""
    rows = buttons_for(draft, registry, locale)
    if draft.preview or not draft.text:
        preview = (("preview.jpg", draft.preview),) if draft.preview else ()
        return Part(text=small(wording.progress(draft, locale)), rows=rows, files=preview)
    room = DISCORD_LIMIT - len(CURSOR) - 2
    *before, end = split(defang(draft.text), room, discord_length)
    return Part(text=("… " if before else "") + discord_text(end) + CURSOR, rows=rows)


def last_parts(draft: Draft, footer: str, registry: Registry, locale: str = "en") -> list[Part]:
    """Show a final answer, in as many messages as it takes; without its pictures."""
    rows = buttons_for(draft, registry, locale)
    match draft.final:
        case Finished(text=text):
            return written(text, footer.splitlines(), rows, locale)
        case Cancelled(text=text):
            mark = [words("footer.ai", locale)] if text.strip() else []
            return written(text, [words("discord.stopped", locale), *mark], rows, locale)
        case Failed(message=message):
            return [Part(text=spoken(message, locale)[:DISCORD_LIMIT], rows=rows)]
        case None:
            return [Part(text=words("discord.lost", locale), rows=rows)]


def written(text: str, footer: Sequence[str], rows: Rows = (), locale: str = "en") -> list[Part]:
    """Show text that a model wrote, in parts; beyond a few of them as a file below its first lines."""
    text = defang(text)
    below = "\n".join(small(line) for line in footer if line)
    room = DISCORD_LIMIT - len(below) - 2
    if as_file(text, room, discord_length):
        start = split(text, FIRST_LINES, discord_length)[0]
        more = words("discord.long", locale)
        page = "\n".join([discord_text(start) + " …", small(more), below])
        return [Part(text=page, rows=rows, files=(("answer.txt", text.encode()),))]
    parts = split(text, room, discord_length)
    *shown, last = [discord_text(part) for part in parts] or [""]
    return _parts([*shown, "\n".join(filter(None, [last, below]))], rows)


def said(text: str, rows: Rows = (), *, literal: bool = False) -> list[Part]:
    """Show the bot's own words, help and lists among them; without markup if `literal`."""
    if literal:
        parts = [discord_text(part) for part in split(text, DISCORD_LIMIT, discord_length)]
    else:
        parts = split(text, DISCORD_LIMIT)
    return _parts(parts or ["…"], rows)


def _parts(texts: Sequence[str], rows: Rows) -> list[Part]:
    parts = [Part(text=text) for text in texts]
    return [*parts[:-1], replace(parts[-1], rows=rows)]


def small(line: str) -> str:
    return SMALL + " ".join(discord_text(defang(line)).split())


class PressButton(ui.DynamicItem[ui.Button[Any]], template=PATTERN):
    """Show a button that a process started later understands as well."""

    def __init__(self, press: Press, label: str) -> None:
        shown = ui.Button[Any](
            label=label[:MAX_LABEL] or "·",
            custom_id=encode(press),
            style=_STYLES.get(press.verb, ButtonStyle.secondary),
        )
        super().__init__(shown)
        self.press = press

    @classmethod
    async def from_custom_id(
        cls,
        interaction: Interaction,  # noqa: ARG003 - discord.py's own signature
        item: ui.Item[Any],
        match: re.Match[str],
        /,
    ) -> Self:
        return cls(decode(match.string), getattr(item, "label", None) or "·")

    async def callback(self, interaction: Interaction) -> None:
        await interaction.client.handlers.pressed(interaction, self.press)


def view_of(rows: Rows) -> ui.View | None:
    """Make a view without end; None for no buttons. Leaves out what is more than 25."""
    buttons = [(button, number) for number, row in enumerate(wrapped(rows)) for button in row]
    if not buttons:
        return None
    view = ui.View(timeout=None)
    for button, number in buttons:
        item = PressButton(button.press, button.label)
        item.row = number
        view.add_item(item)
    return view


def wrapped(rows: Rows) -> list[tuple[Meant, ...]]:
    short = [row[start : start + ROW] for row in rows for start in range(0, len(row), ROW)]
    return short[: MOST // ROW]


def files_of(job: str, pictures: Sequence[Picture], limit: int) -> tuple[File, ...]:
    """Make PNG files, or JPEG where those are too large, if one fits. Not for the event loop."""
    made: list[File] = []
    for n, picture in enumerate(pictures[:MAX_FILES], 1):
        name, data = f"{job[-6:].lower()}-{n}-seed-{picture.seed}", picture.data
        if len(data) <= limit:
            made.append((f"{name}.png", data))
        elif (small := smaller(data, limit)) is not None:
            made.append((f"{name}.jpg", small))
    return tuple(made)


def smaller(picture: bytes, limit: int) -> bytes | None:
    """Make a JPEG of at most `limit` bytes, as good as fits; None if none does."""
    from PIL import Image

    with Image.open(io.BytesIO(picture)) as opened:
        image = opened.convert("RGB")
    while min(image.size) >= 32:
        for quality in QUALITIES:
            made = io.BytesIO()
            image.save(made, "JPEG", quality=quality)
            if made.tell() <= limit:
                return made.getvalue()
        image = image.resize((image.width // 2, image.height // 2))
    return None

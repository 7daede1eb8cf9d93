"""From a draft to what Discord shows: message text, buttons, files. Pure."""

from collections.abc import Sequence

from bot.discord_client.messages import Part
from bot.locales import words
from bot.messages import draft as render
from bot.messages.buttons import Rows, buttons_for
from bot.messages.draft import Draft
from bot.messages.escape import defang, discord_text
from bot.messages.split import DISCORD_LIMIT, MAX_PARTS, split
from engine.events import Cancelled, Failed, Finished
from engine.plan.cards import Registry

CURSOR = " ▌"
SMALL = "-# "  # Discord's small print
FIRST_LINES = 1200  # characters of a long answer that stand above its file


def shown_length(text: str) -> int:
    """Characters that Discord counts, its markup escaped."""
    return len(discord_text(text))


def growing(draft: Draft, registry: Registry, locale: str = "en") -> Part:
    """An answer under way: its place in the queue, its step, or the end of its text so far."""
    rows = buttons_for(draft, registry, locale)
    if draft.preview:
        return Part(text=small(render.progress(draft)), rows=rows, files=(_preview(draft),))
    if not draft.text:
        return Part(text=small(render.progress(draft)), rows=rows)
    room = DISCORD_LIMIT - len(CURSOR) - 2
    parts = split(defang(draft.text), room, shown_length)
    before = "… " if len(parts) > 1 else ""
    return Part(text=before + discord_text(parts[-1]) + CURSOR, rows=rows)


def _preview(draft: Draft) -> tuple[str, bytes]:
    return "preview.jpg", draft.preview


def last_pages(draft: Draft, footer: str, registry: Registry, locale: str = "en") -> list[Part]:
    """A finished, stopped or failed answer, in as many messages as it takes; pictures not yet among
    its files. `footer` has a line for each thing to know about it."""
    rows = buttons_for(draft, registry, locale)
    match draft.final:
        case Finished(text=text):
            return written(text, footer.splitlines(), rows, locale)
        case Cancelled(text=text):
            mark = [render.AI_LINE] if text.strip() else []
            return written(text, [words("discord.stopped", locale), *mark], rows, locale)
        case Failed(message=message):
            return [Part(text=message[:DISCORD_LIMIT], rows=rows)]
        case None:
            return [Part(text=words("discord.lost", locale), rows=rows)]


def written(text: str, footer: Sequence[str], rows: Rows = (), locale: str = "en") -> list[Part]:
    """Text that a model wrote, in parts; beyond a few of them as a file below its first lines.

    The footer and the buttons are on the last.
    """
    text = defang(text)
    below = "\n".join(small(line) for line in footer if line)
    room = DISCORD_LIMIT - len(below) - 2
    parts = split(text, room, shown_length)
    if len(parts) > MAX_PARTS:
        start = split(text, FIRST_LINES, shown_length)[0]
        more = words("discord.long", locale)
        page = "\n".join([discord_text(start) + " …", small(more), below])
        return [Part(text=page, rows=rows, files=(("answer.txt", text.encode()),))]
    shown = [discord_text(part) for part in parts] or [""]
    last = "\n".join(filter(None, [shown[-1], below]))
    return [*(Part(text=part) for part in shown[:-1]), Part(text=last, rows=rows)]


def said(text: str, rows: Rows = (), *, literal: bool = False) -> list[Part]:
    """The bot's own words, help and lists among them, as they stand; without markup if `literal`."""
    if literal:
        shown = [discord_text(part) for part in split(text, DISCORD_LIMIT, shown_length)] or ["…"]
        return [*(Part(text=part) for part in shown[:-1]), Part(text=shown[-1], rows=rows)]
    parts = split(text, DISCORD_LIMIT) or ["…"]
    return [*(Part(text=part) for part in parts[:-1]), Part(text=parts[-1], rows=rows)]


def small(line: str) -> str:
    """Small print, on one line."""
    return SMALL + " ".join(discord_text(defang(line)).split())

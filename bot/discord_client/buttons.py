"""Buttons as Discord shows them: rows of DynamicItems whose custom_id is the whole state."""

import re
from typing import Any, Self

import discord
from discord import ButtonStyle, ui

from bot.messages.buttons import PATTERN, Press, Rows, Verb, decode, encode
from bot.messages.buttons import Button as Meant

ROW = 5  # buttons side by side
MOST = 25  # buttons below one message
MAX_LABEL = 80
_STYLES = {
    Verb.CONTINUE: ButtonStyle.primary,
    Verb.CANCEL: ButtonStyle.danger,
    Verb.FORGET: ButtonStyle.danger,
}

Interaction = discord.Interaction[Any]


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


def job_in(message: discord.Message) -> str | None:
    """Find the job whose answer that message ends, as its buttons tell."""
    for row in message.components:
        for item in getattr(row, "children", ()):
            if PATTERN.fullmatch(getattr(item, "custom_id", None) or ""):
                return decode(item.custom_id).job
    return None

"""The context menu's question: in which style, and from which beginning."""

from typing import Any, Protocol

import discord
from discord import ui

from bot.discord_client.components import job_in
from bot.discord_client.people import spoken
from bot.discord_client.typed import typed
from bot.grammar import DEFAULT_COMMAND
from bot.locales import words
from engine.registry import Registry

MOST = 25  # entries of a select
MAX_TITLE, MAX_INPUT, MAX_ENTRY = 45, 4000, 100


class Typed(Protocol):
    """Who acts on what was asked by command or form."""

    async def __call__(
        self, interaction: discord.Interaction[Any], text: str, secret: bool, reply_to: str = ""
    ) -> None:
        """`text` is what would have been typed; `secret`: only the asker sees the reply; `reply_to`:
        the job whose answer is meant."""


class ContinueIn(ui.Modal):
    """A form: the style, and the text to begin with (any message's) or to add (to our own answer)."""

    def __init__(
        self,
        registry: Registry,
        message: discord.Message,
        heard: Typed,
        locale: str,
        bot: discord.abc.Snowflake | None = None,
    ) -> None:
        super().__init__(title=words("discord.form_title", locale)[:MAX_TITLE], timeout=900)
        self._heard = heard
        self._job = job_in(message) or ""
        said = spoken(message.content, bot)
        experts = registry.of_command(DEFAULT_COMMAND)[:MOST]
        options = [discord.SelectOption(label=e.title[:MAX_ENTRY], value=e.name) for e in experts]
        self.style = ui.Select[Any](custom_id="style", options=options)
        self.text = ui.TextInput[Any](
            custom_id="text",
            style=discord.TextStyle.paragraph,
            default="" if self._job else said[:MAX_INPUT],
            required=not self._job,
            max_length=MAX_INPUT,
        )
        asked = words("discord.form_more" if self._job else "discord.form_beginning", locale)
        style = words("discord.form_style", locale)
        self.add_item(ui.Label(text=style[:MAX_TITLE], component=self.style))
        self.add_item(ui.Label(text=asked[:MAX_TITLE], component=self.text))

    async def on_submit(self, interaction: discord.Interaction[Any], /) -> None:
        """As if it had been typed."""
        name = "continue" if self._job else DEFAULT_COMMAND
        style = self.style.values[0] if self.style.values else None
        said = typed(name, self.text.value.strip(), verbatim=True, style=style)
        await self._heard(interaction, said, False, self._job)

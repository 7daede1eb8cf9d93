"""The form of the context menu, which asks in which style to go on, and from which beginning.

What it is about stands in its custom_id, so that a form opened before a restart, or an hour ago, is
understood as well.
"""

import re
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import discord
from discord import app_commands, ui

from bot.discord_client.attachments import forwarded
from bot.discord_client.buttons import job_in
from bot.discord_client.command_sync import named
from bot.discord_client.identity import spoken
from bot.locales import words
from bot.messages.grammar import DEFAULT_COMMAND
from bot.messages.options import typed
from engine.plan.cards import Registry

MOST = 25  # entries of a select
MAX_TITLE, MAX_INPUT, MAX_ENTRY = 45, 4000, 100
STYLE, TEXT = "style", "text"
_FORM = re.compile(r"form:(?P<job>[0-9A-Z]{26})?:[0-9a-f]{16}", re.ASCII)


# Takes what would have been typed, and whether only the asker sees the reply.
CommandHandler = Callable[[discord.Interaction[Any], str, bool], Awaitable[None]]


class ContinueIn(ui.Modal):
    """Ask for the style, and for the text to begin with (any message's) or to add (to our answer)."""

    def __init__(
        self,
        registry: Registry,
        message: discord.Message,
        locale: str,
        bot: discord.abc.Snowflake | None = None,
    ) -> None:
        job = job_in(message) or ""
        title = words("discord.form_title", locale)[:MAX_TITLE]
        super().__init__(title=title, timeout=900, custom_id=f"form:{job}:{secrets.token_hex(8)}")
        said = spoken(message.content, bot) or forwarded(message)
        experts = registry.of_command(DEFAULT_COMMAND)[:MOST]
        options = [discord.SelectOption(label=e.title[:MAX_ENTRY], value=e.name) for e in experts]
        field = ui.Select[Any](custom_id=STYLE, options=options)
        text = ui.TextInput[Any](
            custom_id=TEXT,
            style=discord.TextStyle.paragraph,
            default="" if job else said[:MAX_INPUT],
            required=not job,
            max_length=MAX_INPUT,
        )
        asked = words("discord.form_more" if job else "discord.form_beginning", locale)
        style = words("discord.form_style", locale)
        self.add_item(ui.Label(text=style[:MAX_TITLE], component=field))
        self.add_item(ui.Label(text=asked[:MAX_TITLE], component=text))


def asked_in(data: Any) -> tuple[str, str] | None:
    """Read a form that was sent: the text that would have been typed, and the job whose answer is
    meant, or "". None for what is no form of ours.

    >>> field = {"type": 18, "component": {"custom_id": "text", "value": "It rained."}}
    >>> asked_in({"custom_id": "form::0123456789abcdef", "components": [field]})
    ('/story -- It rained.', '')
    """
    try:
        form = _FORM.fullmatch(data["custom_id"])
        fields = [label["component"] for label in data["components"]]
        filled = {f["custom_id"]: f.get("value") or "".join(f.get("values", ())) for f in fields}
        text, style = str(filled[TEXT]).strip(), filled.get(STYLE) or None
    except (AttributeError, KeyError, TypeError):  # anything may come over the wire
        return None
    if form is None:
        return None
    job = form["job"] or ""
    return typed("continue" if job else DEFAULT_COMMAND, text, verbatim=True, style=style), job


def menu(registry: Registry) -> app_commands.ContextMenu:

    async def callback(interaction: discord.Interaction, message: discord.Message) -> None:
        locale, me = interaction.locale.value, interaction.client.user
        await interaction.response.send_modal(ContinueIn(registry, message, locale, me))

    name = named(words("discord.name_menu"), "discord.name_menu")
    return app_commands.ContextMenu(name=name, callback=callback)

"""The context menu's question: in which style, and from which beginning.

What the form is about stands in its custom_id, so that one opened before a restart, or an hour ago,
is understood as well.
"""

import re
import secrets
from typing import Any, Protocol

import discord
from discord import ui

from bot.discord_client.attachments import forwarded
from bot.discord_client.buttons import job_in
from bot.discord_client.identity import spoken
from bot.discord_client.typed import typed
from bot.locales import words
from bot.messages.grammar import DEFAULT_COMMAND
from engine.plan.cards import Registry

MOST = 25  # entries of a select
MAX_TITLE, MAX_INPUT, MAX_ENTRY = 45, 4000, 100
STYLE, TEXT = "style", "text"
_FORM = re.compile(r"form:(?P<job>[0-9A-Z]{26})?:[0-9a-f]{16}", re.ASCII)


class CommandHandler(Protocol):
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
    """What a form that was sent asks for: the text that would have been typed, and the job whose answer
    is meant, or "". None for what is no form of ours.

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

"""Who speaks, where, and by which right, as Discord tells it."""

import re
from typing import Any

import discord

from bot.discord_client.address import Address
from bot.service.request import Who

PLATFORM = "discord"


def who_pressed(
    interaction: discord.Interaction[Any],
    address: Address,
    said: str = "",
    reply_to: str = "",
    *,
    borrowed: bool = False,
) -> Who:
    """The person of a command, a button or a form; `borrowed` words are another's."""
    rights = interaction.permissions
    return Who(
        platform=PLATFORM,
        asker=str(interaction.user.id),
        place=str(interaction.channel_id or interaction.user.id),
        typed=said,
        reply_to=reply_to or None,
        private=alone(interaction),
        manager=_governs(rights) or rights.manage_channels,
        server_manager=_governs(rights),
        parent=_parent(interaction.channel),
        borrowed=borrowed,
        locale=interaction.locale.value,
        server=str(interaction.guild_id or ""),
        address=address.written(),
    )


def who_wrote(message: discord.Message, address: Address) -> Who:
    """The person of a message."""
    rights = getattr(message.author, "guild_permissions", discord.Permissions.none())
    return Who(
        platform=PLATFORM,
        asker=str(message.author.id),
        place=str(message.channel.id),
        private=private(message.channel),
        manager=_governs(rights) or rights.manage_channels,
        server_manager=_governs(rights),
        parent=_parent(message.channel),
        locale=address.locale,
        server=str(message.guild.id) if message.guild else "",
        address=address.written(),
    )


def _governs(granted: discord.Permissions) -> bool:
    """Whether they decide for the server; a channel's own permissions do not reach so far."""
    return granted.manage_guild or granted.administrator


def _parent(channel: object) -> str:
    """The channel that a thread or a forum's post stands in."""
    return str(channel.parent_id) if isinstance(channel, discord.Thread) else ""


def alone(interaction: discord.Interaction[Any]) -> bool:
    """Whether nobody but that person and the bot reads there. Two people's own channel, where the
    commands are installed for one of them, looks the same; the context tells it apart."""
    return private(interaction.channel) and not interaction.context.private_channel


def private(channel: object) -> bool:
    """Whether that is a conversation of one person with the bot."""
    return isinstance(channel, discord.DMChannel)


def addressed(message: discord.Message, bot: discord.abc.Snowflake | None) -> bool:
    """Whether it was said to the bot: privately, by its name, or in reply to it.

    Without the message-content intent, a reply that pings nobody comes without its words: whoever
    writes so speaks to the others, and is not answered.
    """
    if bot is None:
        return False
    named = any(user.id == bot.id for user in message.mentions)
    return private(message.channel) or named or bool(message.content and _answers(message, bot))


def _answers(message: discord.Message, bot: discord.abc.Snowflake) -> bool:
    before = message.reference.resolved if message.reference else None
    return isinstance(before, discord.Message) and before.author.id == bot.id


def spoken(content: str, bot: discord.abc.Snowflake | None) -> str:
    """The words without the bot's name.

    >>> spoken("<@7> /story It rained.", discord.Object(7))
    '/story It rained.'
    """
    if bot is None:
        return content.strip()
    return re.sub(rf"<@!?{bot.id}>", " ", content).strip()

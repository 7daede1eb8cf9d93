"""The identity of who speaks, where, and by which right, as Discord tells it."""

import re
from typing import Any

import discord

from bot.discord_client.address import NOWHERE, Address
from bot.service.request import Who

PLATFORM = "discord"


def who_at(
    address: Address, rights: discord.Permissions | None = None, channel: object = None, **more: Any
) -> Who:
    """Name the asker of an answer, with their rights in the channel where they asked."""
    rights = rights or discord.Permissions.none()
    # A channel's own permissions do not reach as far as the server.
    governs = rights.manage_guild or rights.administrator
    return Who(
        platform=PLATFORM,
        asker=address.asker,
        place=address.channel if address.channel != NOWHERE else address.asker,
        manager=governs or rights.manage_channels,
        server_manager=governs,
        parent=str(channel.parent_id) if isinstance(channel, discord.Thread) else "",
        locale=address.locale,
        address=address.written(),
        **more,
    )


def who_pressed(interaction: discord.Interaction[Any], address: Address, **more: Any) -> Who:
    rights, channel = interaction.permissions, interaction.channel
    more |= {"alone": alone(interaction), "server": str(interaction.guild_id or "")}
    return who_at(address, rights, channel, **more)


def who_wrote(message: discord.Message, address: Address) -> Who:
    rights = getattr(message.author, "guild_permissions", None)
    server = str(message.guild.id) if message.guild else ""
    return who_at(address, rights, message.channel, alone=private(message.channel), server=server)


def alone(interaction: discord.Interaction[Any]) -> bool:
    """Say whether nobody but that person and the bot reads there.

    Two people's own channel, where the commands are installed for one of them, looks the same; the
    context tells it apart.
    """
    return private(interaction.channel) and not interaction.context.private_channel


def private(channel: object) -> bool:
    """Say whether that is a conversation of one person with the bot."""
    return isinstance(channel, discord.DMChannel)


def addressed(message: discord.Message, bot: discord.abc.Snowflake | None) -> bool:
    """Say whether it was said to the bot: privately, by its name, or in reply to it.

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
    """Take the bot's name out of the words.

    >>> spoken("<@7> /story It rained.", discord.Object(7))
    '/story It rained.'
    """
    if bot is None:
        return content.strip()
    return re.sub(rf"<@!?{bot.id}>", " ", content).strip()

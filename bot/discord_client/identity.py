"""Who speaks, where, by which right and what, as Discord tells it; and the address of their answer."""

import asyncio
import json
import logging
import re
import time
from dataclasses import asdict, dataclass
from typing import Any, Self

import discord

from bot.discord_client.errors import PASSING
from bot.service.request import Who

PLATFORM = "discord"
TOKEN_SECONDS = 14 * 60.0  # Discord's own limit is 15 minutes; past this, the channel takes over
NOWHERE = "0"  # the channel of an interaction without one
FILE_BYTES = 10 * 1024 * 1024  # where nobody says how large a file may be
PASTE_BYTES = 100_000  # Discord makes a file of more than 2,000 characters; we take 20,000
READ_SECONDS = 10.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Hold one answer's place. `token` and `born` (UTC seconds) are an interaction's, else empty.

    `asked` is the message replied to; `shown` the one that holds the answer so far ("@original" is an
    interaction's own response), `parts` how many more were sent below it. `secret`: only the asker
    sees it. `limit`: bytes of a file.
    """

    channel: str
    asker: str
    token: str = ""
    born: float = 0.0
    asked: str = ""
    shown: str = ""
    parts: int = 0
    secret: bool = False
    limit: int = FILE_BYTES
    locale: str = "en"

    def written(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what written() made. Raises ValueError."""
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError("no address of ours") from error


def address_by(message: discord.Message) -> Address:
    """Give the place of the reply to a message, in its server's language: people's are not told."""
    guild = message.guild
    return Address(
        channel=str(message.channel.id),
        asker=str(message.author.id),
        asked=str(message.id),
        limit=guild.filesize_limit if guild else FILE_BYTES,
        locale=guild.preferred_locale.value if guild else "en",
    )


def address_of(
    interaction: "discord.Interaction[discord.Client]", *, shown: str = "", secret: bool = False
) -> Address:
    """Give the place of the reply to an interaction, from now on."""
    return Address(
        channel=str(interaction.channel_id or NOWHERE),
        asker=str(interaction.user.id),
        token=interaction.token,
        born=time.time(),
        shown=shown,
        secret=secret,
        limit=interaction.filesize_limit,
        locale=interaction.locale.value,
    )


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
    return isinstance(channel, discord.DMChannel)


def addressed(message: discord.Message, bot: discord.abc.Snowflake | None) -> bool:
    """Say whether it was said to the bot: privately, by its name, or in reply to it.

    Without the message-content intent, a reply that pings nobody comes without its words: whoever
    writes so speaks to the others, and is not answered.
    """
    if bot is None:
        return False
    named = any(user.id == bot.id for user in message.mentions)
    before = message.reference.resolved if message.reference and message.content else None
    replied = isinstance(before, discord.Message) and before.author.id == bot.id
    return private(message.channel) or named or replied


def spoken(content: str, bot: discord.abc.Snowflake | None) -> str:
    """Take the bot's name out of the words.

    >>> spoken("<@7> /story It rained.", discord.Object(7))
    '/story It rained.'
    """
    if bot is None:
        return content.strip()
    return re.sub(rf"<@!?{bot.id}>", " ", content).strip()


async def words_of(message: discord.Message, bot: discord.abc.Snowflake | None) -> str:
    """Give its words, those of a forward, whose own content is empty, and of a long paste."""
    texts = (f for f in message.attachments if (f.content_type or "").startswith("text/plain"))
    paste = next((file for file in texts if file.size <= PASTE_BYTES), None)
    forwarded = "\n".join(filter(None, (shot.content for shot in message.message_snapshots)))
    parts = [spoken(message.content, bot), forwarded, await _read(paste) if paste else ""]
    return "\n".join(filter(None, parts))


async def _read(file: discord.Attachment) -> str:
    try:
        async with asyncio.timeout(READ_SECONDS):
            return (await file.read()).decode("utf-8", errors="replace").strip()
    except (discord.DiscordException, *PASSING) as error:
        log.info("an attachment could not be read", extra={"why": type(error).__name__})
        return ""

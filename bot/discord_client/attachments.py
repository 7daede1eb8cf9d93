"""What a message says besides its own words: a forward's, and a text pasted as a file."""

import asyncio
import logging

import discord

from bot.discord_client.errors import PASSING
from bot.discord_client.identity import spoken

PASTE_BYTES = 100_000  # Discord makes a file of more than 2,000 characters; we take 20,000
READ_SECONDS = 10.0

log = logging.getLogger(__name__)


def forwarded(message: discord.Message) -> str:
    """The words of a forward; its own content is empty."""
    return "\n".join(filter(None, (shot.content for shot in message.message_snapshots)))


async def words_of(message: discord.Message, bot: discord.abc.Snowflake | None) -> str:
    """All that it says to the bot."""
    paste = next((file for file in message.attachments if _is_text(file)), None)
    parts = [spoken(message.content, bot), forwarded(message), await _read(paste) if paste else ""]
    return "\n".join(filter(None, parts))


def _is_text(file: discord.Attachment) -> bool:
    return (file.content_type or "").startswith("text/plain") and file.size <= PASTE_BYTES


async def _read(file: discord.Attachment) -> str:
    """Empty if it cannot be had."""
    try:
        async with asyncio.timeout(READ_SECONDS):
            return (await file.read()).decode("utf-8", errors="replace").strip()
    except (discord.DiscordException, *PASSING) as error:
        log.info("an attachment could not be read", extra={"why": type(error).__name__})
        return ""

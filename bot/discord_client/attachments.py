"""What comes and goes beside a message's own words: a forward, a text pasted as a file, pictures.

Pictures that are too large are sent smaller; the original stays on record.
"""

import asyncio
import io
import logging
from collections.abc import Sequence

import discord

from bot.discord_client.errors import PASSING
from bot.discord_client.identity import spoken
from engine.events import Picture

PASTE_BYTES = 100_000  # Discord makes a file of more than 2,000 characters; we take 20,000
READ_SECONDS = 10.0
QUALITIES = (92, 85, 75, 60, 45, 30)
MAX_FILES = 10  # of a message

File = tuple[str, bytes]

log = logging.getLogger(__name__)


def forwarded(message: discord.Message) -> str:
    """Give the words of a forward, whose own content is empty."""
    return "\n".join(filter(None, (shot.content for shot in message.message_snapshots)))


async def words_of(message: discord.Message, bot: discord.abc.Snowflake | None) -> str:
    paste = next((file for file in message.attachments if _is_text(file)), None)
    parts = [spoken(message.content, bot), forwarded(message), await _read(paste) if paste else ""]
    return "\n".join(filter(None, parts))


def _is_text(file: discord.Attachment) -> bool:
    return (file.content_type or "").startswith("text/plain") and file.size <= PASTE_BYTES


async def _read(file: discord.Attachment) -> str:
    try:
        async with asyncio.timeout(READ_SECONDS):
            return (await file.read()).decode("utf-8", errors="replace").strip()
    except (discord.DiscordException, *PASSING) as error:
        log.info("an attachment could not be read", extra={"why": type(error).__name__})
        return ""


def files_of(job: str, pictures: Sequence[Picture], limit: int) -> tuple[File, ...]:
    """Make PNG files, each as JPEG instead if it is larger than `limit` bytes.

    A picture that is too large at any quality is left out. May take a second: not for the event loop.
    """
    found = [
        _file(f"{job[-6:].lower()}-{n}-seed-{picture.seed}", picture.data, limit)
        for n, picture in enumerate(pictures[:MAX_FILES], 1)
    ]
    return tuple(file for file in found if file is not None)


def _file(name: str, data: bytes, limit: int) -> File | None:
    if len(data) <= limit:
        return f"{name}.png", data
    small = smaller(data, limit)
    return (f"{name}.jpg", small) if small is not None else None


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

"""The address of an answer: enough to find the place where it goes again after a restart."""

import json
import time
from dataclasses import asdict, dataclass
from typing import Self

import discord

TOKEN_SECONDS = 14 * 60.0  # Discord's own limit is 15 minutes; past this, the channel takes over
NOWHERE = "0"  # the channel of an interaction without one
FILE_BYTES = 10 * 1024 * 1024  # where nobody says how large a file may be


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
        """Read what written() made. Raises ValueError.

        >>> Address.read(Address(channel="1", asker="2").written()).channel
        '1'
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError("no address of ours") from error

    def by_token(self, now: float) -> bool:
        """Say whether the interaction's token still serves, at that time (UTC seconds)."""
        return bool(self.token) and now - self.born < TOKEN_SECONDS


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

"""Where an answer goes, in enough words to find that place again after a restart."""

import json
import time
from dataclasses import asdict, dataclass
from typing import Self

import discord

TOKEN_SECONDS = 14 * 60.0  # Discord's own limit is 15 minutes; past this, the channel takes over
FILE_BYTES = 10 * 1024 * 1024  # where nobody says how large a file may be


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One answer's place. `token` and `born` (UTC seconds) are an interaction's, empty for a message.

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
        """As the outbox keeps it."""
        return json.dumps(asdict(self))

    @classmethod
    def read(cls, text: str) -> Self:
        """Raises ValueError for what written() did not make.

        >>> Address.read(Address(channel="1", asker="2").written()).channel
        '1'
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError("no address of ours") from error

    def by_token(self, now: float) -> bool:
        """Whether the interaction's token still serves, at that time (UTC seconds)."""
        return bool(self.token) and now - self.born < TOKEN_SECONDS


def address_by(message: discord.Message) -> Address:
    """Where the reply to a message goes. People's languages are not told with it; the server's is."""
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
    """Where the reply to an interaction goes, from now on."""
    return Address(
        channel=str(interaction.channel_id or 0),
        asker=str(interaction.user.id),
        token=interaction.token,
        born=time.time(),
        shown=shown,
        secret=secret,
        limit=interaction.filesize_limit,
        locale=interaction.locale.value,
    )

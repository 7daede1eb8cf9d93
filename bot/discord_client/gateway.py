"""The connection: discord.py's client, pointed where the settings say, unshaken by bad data."""

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bot.discord_client.buttons import PressButton
from bot.discord_client.sharding import Shards
from bot.messages.buttons import PATTERN, Press

CONNECTIONS = 200  # at once; discord.py itself would open one for each of a thousand requests
HEARTBEAT_SECONDS = 60.0  # a gateway silent for so long is dead
INTERACTION = "INTERACTION_CREATE"
QUIET = (
    "discord.gateway",
    "discord.http",
    "discord.webhook.async_",
    "discord.client",
    "discord.state",
)
SPOKEN = (discord.MessageType.default, discord.MessageType.reply)
PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    attach_files=True,
    read_message_history=True,
)

Interaction = discord.Interaction[Any]

log = logging.getLogger(__name__)


class EventHandlers(Protocol):
    """Whom a connection passes on to what it hears."""

    async def message(self, message: discord.Message) -> None:
        """An ordinary message of a person."""

    async def pressed(self, interaction: Interaction, press: Press) -> None:
        """One of our buttons."""

    async def submitted(self, interaction: Interaction) -> None:
        """A form."""

    async def unknown(self, interaction: Interaction) -> None:
        """A button that is none of ours."""

    async def left(self, server: str, channels: tuple[str, ...]) -> None:
        """The bot was sent away from a server."""


class Connection(discord.Client):
    """One bot user. `begin` is awaited between login and gateway.

    `content`: read messages that are not addressed to it (a privileged intent); `silence`: seconds
    after which a gateway that says nothing is left.
    """

    def __init__(
        self,
        ears: EventHandlers,
        begin: Callable[["Connection"], Awaitable[None]],
        *,
        content: bool = False,
        silence: float = HEARTBEAT_SECONDS,
        **sharding: Any,
    ) -> None:
        intents = discord.Intents(guilds=True, guild_messages=True, dm_messages=True)
        intents.message_content = content
        super().__init__(
            intents=intents,
            allowed_mentions=discord.AllowedMentions.none(),
            max_messages=None,  # what people write is not kept, not even in memory
            member_cache_flags=discord.MemberCacheFlags.none(),
            chunk_guilds_at_startup=False,
            heartbeat_timeout=silence,
            enable_debug_events=False,
            connector=aiohttp.TCPConnector(limit=CONNECTIONS),
            **sharding,
        )
        self._ears = ears
        self._begin = begin
        self._here: dict[int, bool] = {0: False}  # which shards bring events
        parsers = self._connection.parsers
        self._connection.parsers = {name: guarded(name, parser) for name, parser in parsers.items()}

    @property
    def listening(self) -> bool:
        """Whether every shard brings events."""
        return bool(self._here) and all(self._here.values())

    async def setup_hook(self) -> None:
        """Between login and the gateway: buttons of earlier runs, commands."""
        self.add_dynamic_items(PressButton)
        await self._begin(self)

    async def pressed(self, interaction: Interaction, press: Press) -> None:
        """One of our buttons."""
        await self._ears.pressed(interaction, press)

    async def on_message(self, message: discord.Message) -> None:
        """discord.py's event. Other bots are not answered: two of them would never end; nor is what
        Discord writes in a person's name (a thread was renamed, a message pinned, somebody came)."""
        author = getattr(message, "author", None)  # malformed ones lack it
        if author is None or author.bot or message.webhook_id is not None:
            return
        if message.type in SPOKEN:
            await self._ears.message(message)

    async def on_interaction(self, interaction: Interaction) -> None:
        """discord.py's event, after commands and known buttons were handed on. Forms come to us alone:
        discord.py knows only those that this process opened, and only for a while."""
        if interaction.type is discord.InteractionType.modal_submit:
            await self._ears.submitted(interaction)
        if interaction.type is not discord.InteractionType.component:
            return
        data: Any = interaction.data or {}
        if not PATTERN.fullmatch(str(data.get("custom_id", ""))):
            await self._ears.unknown(interaction)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        """discord.py's event: sent away, or the server is no more; not for one that is only down."""
        channels = (*guild.channels, *guild.threads)
        await self._ears.left(str(guild.id), tuple(str(channel.id) for channel in channels))

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        """What escaped a handler: logged without what was said."""
        log.exception("an event failed", extra={"event": event_method})

    async def on_ready(self) -> None:
        """discord.py's event, at every new session."""
        self._here[0] = True
        log.info("Discord: connected", extra={"servers": len(self.guilds)})

    async def on_resumed(self) -> None:
        """discord.py's event, when a session goes on over a new socket."""
        self._here[0] = True

    async def on_disconnect(self) -> None:
        """discord.py's event, at each socket that closed or could not be had."""
        self._here[0] = False


class ShardedConnection(Connection, discord.AutoShardedClient):
    """A bot user's connection by several shards, those of `shards` here."""

    def __init__(
        self,
        ears: EventHandlers,
        begin: Callable[[Connection], Awaitable[None]],
        shards: Shards,
        *,
        content: bool = False,
    ) -> None:
        chosen: dict[str, Any] = {"shard_count": shards.count, "shard_ids": list(shards.ids)}
        super().__init__(ears, begin, content=content, **(chosen if shards.count else {}))
        self.choose(shards)

    def choose(self, shards: Shards) -> None:
        """Before connecting: these."""
        if shards.count is not None:
            self.shard_count, self.shard_ids = shards.count, list(shards.ids)
        self._here = dict.fromkeys(shards.ids, False)

    async def on_ready(self) -> None:
        """discord.py's event, when every shard has its servers."""
        log.info("Discord: connected", extra={"servers": len(self.guilds)})

    async def on_shard_ready(self, shard: int) -> None:
        """discord.py's event, at every new session of a shard."""
        self._here[shard] = True
        log.info("Discord: shard %d of %s is here", shard, self.shard_count)

    async def on_resumed(self) -> None:
        """The shard's own event tells more."""

    async def on_shard_resumed(self, shard: int) -> None:
        """discord.py's event."""
        self._here[shard] = True

    async def on_disconnect(self) -> None:
        """The shard's own event tells more."""

    async def on_shard_disconnect(self, shard: int) -> None:
        """discord.py's event."""
        self._here[shard] = False


def guarded(name: str, parser: Callable[[Any], None]) -> Callable[[Any], None]:
    """discord.py lets a malformed event end the connection; here it is dropped and logged."""

    def parse(data: Any) -> None:
        try:
            if name == INTERACTION and not sound(data):
                raise TypeError("an interaction's own fields")
            parser(data)
        except Exception as error:  # noqa: BLE001 - anything may come over the wire
            log.warning(
                "an event was malformed", extra={"event": name, "why": type(error).__name__}
            )

    return parse


def sound(interaction: Any) -> bool:
    """Whether the fields are there on which discord.py builds tasks of its own, where none catches."""
    message = interaction.get("message", {"components": []})
    token, flags = interaction["token"], message.get("flags", 0)
    shaped = isinstance(message["components"], list) and type(flags) is int
    return isinstance(token, str) and token != "" and shaped


def point(api: str, gateway: str) -> None:
    """Send discord.py elsewhere than to Discord: a proxy, a test. Empty leaves it as it is."""
    if api:
        Route.BASE = api.rstrip("/")
    if gateway:
        DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway)


def quieten() -> None:
    """discord.py's own DEBUG lines hold whole events and addresses with tokens: never.

    Its warnings that voice is not installed help nobody here.
    """
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.INFO)


def invite(application: int | None) -> str:
    """The address that puts the bot into a server, with just the permissions it needs."""
    scopes = ("bot", "applications.commands")
    return discord.utils.oauth_url(application or 0, permissions=PERMISSIONS, scopes=scopes)

"""The gateway connection: discord.py's client, pointed where the settings say, unshaken by bad data."""

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bot.discord_client.rendering import Interaction, PressButton
from bot.messages.buttons import PATTERN

if TYPE_CHECKING:
    from bot.discord_client.handlers import Handlers

CONNECTIONS = 200  # at once; discord.py itself would open one for each of a thousand requests
HEARTBEAT_SECONDS = 60.0  # a gateway silent for so long is dead
INTERACTION = "INTERACTION_CREATE"
QUIET = [f"discord.{name}" for name in ("gateway", "http", "webhook.async_", "client", "state")]
SPOKEN = (discord.MessageType.default, discord.MessageType.reply)
PERMISSIONS = discord.Permissions(
    view_channel=True,
    send_messages=True,
    send_messages_in_threads=True,
    attach_files=True,
    read_message_history=True,
)
log = logging.getLogger(__name__)


class Connection(discord.Client):
    """Connect one bot user. `begin` is awaited between login and gateway; `content`: read messages that
    are not addressed to it (a privileged intent)."""

    def __init__(
        self,
        handlers: "Handlers",
        begin: Callable[["Connection"], Awaitable[None]],
        *,
        content: bool = False,
        silence: float = HEARTBEAT_SECONDS,
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
        )
        self.handlers = handlers
        self._begin = begin
        self.listening = False
        parsers = self._connection.parsers
        self._connection.parsers = {name: guarded(name, parser) for name, parser in parsers.items()}

    async def setup_hook(self) -> None:
        """Prepare, between login and gateway, buttons of earlier runs and commands."""
        self.add_dynamic_items(PressButton)
        await self._begin(self)

    async def on_message(self, message: discord.Message) -> None:
        # Other bots are not answered: two of them would never end; nor is what Discord writes in a
        # person's name (a thread was renamed, a message pinned, somebody came).
        author = getattr(message, "author", None)  # malformed ones lack it
        if author is None or author.bot or message.webhook_id is not None:
            return
        if message.type in SPOKEN:
            await self.handlers.message(message)

    async def on_interaction(self, interaction: Interaction) -> None:
        # Commands and known buttons were handed on before.
        if interaction.type is not discord.InteractionType.component:
            return
        data: Any = interaction.data or {}
        if not PATTERN.fullmatch(str(data.get("custom_id", ""))):
            await self.handlers.unknown(interaction)

    async def on_guild_remove(self, guild: discord.Guild) -> None:
        # sent away, or the server is no more; not for one that is only down
        channels = (*guild.channels, *guild.threads)
        await self.handlers.left(str(guild.id), tuple(str(channel.id) for channel in channels))

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002
        # logged without what was said
        log.exception("an event failed", extra={"event": event_method})

    async def on_ready(self) -> None:
        self.listening = True
        log.info("Discord: connected", extra={"servers": len(self.guilds)})

    async def on_resumed(self) -> None:
        self.listening = True

    async def on_disconnect(self) -> None:
        self.listening = False


def guarded(name: str, parser: Callable[[Any], None]) -> Callable[[Any], None]:
    """Drop and log a malformed event, which would end discord.py's connection."""

    def parse(data: Any) -> None:
        try:
            if name == INTERACTION and not sound(data):
                raise TypeError("an interaction's own fields")
            parser(data)
        except Exception as error:  # noqa: BLE001 - anything may come over the wire
            facts = {"event": name, "why": type(error).__name__}
            log.warning("an event was malformed", extra=facts)

    return parse


def sound(interaction: Any) -> bool:
    """Check the fields on which discord.py builds tasks of its own, whose errors nobody catches."""
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
    """Keep discord.py's DEBUG lines out, which hold events and tokens, and its warnings about voice."""
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.INFO)


def invite(application: int | None) -> str:
    scopes = ("bot", "applications.commands")
    return discord.utils.oauth_url(application or 0, permissions=PERMISSIONS, scopes=scopes)

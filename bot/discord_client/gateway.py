"""The gateway connection: discord.py's client, pointed where the settings say, unshaken by bad data.

Discord sends a server's events to shard (server id >> 22) % count; a bot needs shards from 2,500 servers
on. https://discord.com/developers/docs/events/gateway#sharding
Who listens to a shard (DISCORD_SHARDS) holds its lease, and stops when that is lost.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket
from discord.http import Route

from bot.clients.lease import AGAIN_SECONDS, holding, while_held
from bot.discord_client.rendering import Interaction, PressButton
from bot.messages.buttons import PATTERN
from engine.errors import SetupError
from engine.ledger.leases import Leases

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
MOST = 16_384  # shards
_PART = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """The shards of this process, out of `count`; None asks Discord how many there should be."""

    ids: tuple[int, ...]
    count: int | None


SINGLE = Shards(ids=(0,), count=1)  # one connection hears everything


def of_count(count: int) -> Shards:
    return Shards(ids=tuple(range(count)), count=count)


def read_shards(text: str) -> Shards:
    """Read the setting. Raises SetupError.

    >>> read_shards("") == SINGLE, read_shards("auto").count
    (True, None)
    >>> read_shards("0-2,5/8").ids
    (0, 1, 2, 5)
    >>> read_shards("3").ids
    (0, 1, 2)
    """
    text = text.replace(" ", "")
    if text == "":
        return SINGLE
    if text.lower() == "auto":
        return Shards(ids=(), count=None)
    chosen, slash, of = text.rpartition("/")
    count = int(of) if of.isdecimal() else 0
    parts = [_PART.fullmatch(part) for part in chosen.split(",")] if slash else []
    ranges = [range(int(p[1]), int(p[2] or p[1]) + 1) for p in parts if p is not None]
    sound = len(ranges) == len(parts) and all(each and each[-1] < count for each in ranges)
    if not (1 <= count <= MOST and sound):
        raise SetupError(
            f"DISCORD_SHARDS is {text!r}. Write auto, a number (8: all eight here), or some: 0-3/8 in "
            "one process, 4-7/8 in another. They count from 0. Unset, one connection hears everything."
        )
    if not slash:
        return of_count(count)
    return Shards(ids=tuple(sorted(set().union(*ranges))), count=count)


async def listen_alone(
    listen: Callable[[], Coroutine[Any, Any, None]],
    leases: Leases,
    shards: Shards,
    application: int | None,
) -> None:
    """Listen while we hold the leases of all shards, and nobody divides by another number of them.

    Raises LeaseLostError.
    """
    prefix, told = f"discord {application} ", set[str]()
    while others := {
        name: who
        for name, who in (await leases.alike(prefix)).items()
        if not name.endswith(f"/{shards.count}")
    }:
        for name in others.keys() - told:
            log.warning(
                "Discord: %s serves shard %s, and this process divides by %s. Waiting for its end: "
                "all must have the same number in DISCORD_SHARDS.",
                others[name], name.rpartition(" ")[2], shards.count,
            )  # fmt: skip
        told |= others.keys()
        await asyncio.sleep(AGAIN_SECONDS)

    def waiting(who: str) -> None:
        log.warning(
            "Discord: %s listens already to what this process is to hear. Waiting: when it ends, this "
            "one takes its place.",
            who,
        )

    names = tuple(f"{prefix}{number}/{shards.count}" for number in shards.ids)
    async with holding(leases, names, waiting) as lost:
        await while_held(lost, listen())


class Connection(discord.Client):
    """Connect one bot user. `begin` is awaited between login and gateway.

    `content`: read messages that are not addressed to it (a privileged intent); `silence`: seconds
    after which a gateway that says nothing is left.
    """

    def __init__(
        self,
        handlers: "Handlers",
        begin: Callable[["Connection"], Awaitable[None]],
        shards: Shards = SINGLE,
        *,
        content: bool = False,
        silence: float = HEARTBEAT_SECONDS,
    ) -> None:
        counted: dict[str, Any] = {"shard_count": shards.count, "shard_ids": list(shards.ids)}
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
            **(counted if shards.count else {}),
        )
        self.handlers = handlers
        self._begin = begin
        self._here = dict.fromkeys(shards.ids, False)  # which shards bring events
        parsers = self._connection.parsers
        self._connection.parsers = {name: guarded(name, parser) for name, parser in parsers.items()}

    @property
    def listening(self) -> bool:
        return bool(self._here) and all(self._here.values())

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
        # Commands and known buttons were handed on before. Forms come to us alone: discord.py knows
        # only those that this process opened, and only for a while.
        if interaction.type is discord.InteractionType.modal_submit:
            await self.handlers.submitted(interaction)
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
        self._here[0] = True
        log.info("Discord: connected", extra={"servers": len(self.guilds)})

    async def on_resumed(self) -> None:
        self._here[0] = True

    async def on_disconnect(self) -> None:
        self._here[0] = False


class ShardedConnection(Connection, discord.AutoShardedClient):
    async def recommended(self) -> Shards:
        count, _address, _limits = await self.http.get_bot_gateway()
        log.info("Discord: %d shards, as it recommends", count)
        shards = of_count(count)
        self.shard_count, self.shard_ids = count, list(shards.ids)
        self._here = dict.fromkeys(shards.ids, False)
        return shards

    async def on_ready(self) -> None:
        log.info("Discord: connected", extra={"servers": len(self.guilds)})

    async def on_shard_ready(self, shard: int) -> None:
        self._here[shard] = True
        log.info("Discord: shard %d of %s is here", shard, self.shard_count)

    async def on_resumed(self) -> None:
        pass  # the shard's own event tells more

    async def on_shard_resumed(self, shard: int) -> None:
        self._here[shard] = True

    async def on_disconnect(self) -> None:
        pass  # the shard's own event tells more

    async def on_shard_disconnect(self, shard: int) -> None:
        self._here[shard] = False


def guarded(name: str, parser: Callable[[Any], None]) -> Callable[[Any], None]:
    """Drop and log a malformed event, which would end discord.py's connection."""

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
    """discord.py's own DEBUG lines hold whole events and addresses with tokens: never.

    Its warnings that voice is not installed help nobody here.
    """
    discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.INFO)


def invite(application: int | None) -> str:
    scopes = ("bot", "applications.commands")
    return discord.utils.oauth_url(application or 0, permissions=PERMISSIONS, scopes=scopes)

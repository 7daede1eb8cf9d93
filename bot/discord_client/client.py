"""Discord as `pastiche serve` runs it: login, connection, drain, and debts of an earlier run."""

import asyncio
import logging
from functools import partial

import discord

from bot.clients.lease import until, while_alone
from bot.clients.pacing import TooFast, Vanished, backoff
from bot.discord_client.commands import STUDY, build, sync
from bot.discord_client.errors import PASSING, pause
from bot.discord_client.gateway import Connection, invite, point, quieten
from bot.discord_client.handlers import Handlers
from bot.discord_client.identity import Address, who_at
from bot.service.service import ChatService
from bot.settings import PlatformSettings
from engine import shutdown
from engine.errors import SetupError
from engine.ledger.outbox import Debt

LONGEST = 4096  # tokens that an option takes; the engine says how many it allows
UNKNOWN_SECONDS = 2.0  # the pause after a connection that broke in a way unknown
LOGIN_SECONDS = 10.0  # a debt waits so long for a login; later it comes again
PORTAL = "https://discord.com/developers/applications"

log = logging.getLogger(__name__)


class DiscordClient:
    name = "discord"

    def __init__(self, service: ChatService, settings: PlatformSettings) -> None:
        self._service = service
        self._settings = settings
        self._handlers = Handlers(service)
        self._there = asyncio.Event()  # logged in: messages can be sent
        self._closing = asyncio.Event()
        self._connection: Connection | None = None

    @property
    def connected(self) -> bool:
        return self._connection is not None and self._connection.listening

    async def run(self) -> None:
        quieten()
        point(self._settings.discord_api_base, self._settings.discord_gateway_url)
        try:
            connection = await self._login()
            if connection is not None:
                # As older versions name it, which must not listen beside this one.
                name = f"discord {connection.application_id} 0/1"
                leases = self._service.context.services.leases
                work = partial(self._listen, connection)
                await until(self._closing, while_alone(leases, name, "Discord", work))
        finally:
            if self._connection is not None:
                await self._connection.close()

    async def _login(self) -> Connection | None:
        """Log in, however long that takes; None if we are to stop before."""
        token = self._settings.discord_token
        tries = 0
        while not self._closing.is_set():
            connection = self._connection = self._connect()
            try:
                await connection.login(token.get_secret_value() if token else "")
                self._there.set()
                return connection
            except (discord.LoginFailure, ValueError):
                raise SetupError(
                    "Discord does not accept the token in DISCORD_TOKEN. Take a new one from your "
                    f"application's page (Bot, Reset Token): {PORTAL}"
                ) from None
            except (discord.HTTPException, *PASSING) as error:
                wait = pause(error) or backoff(tries)
                log.warning("Discord cannot be reached", extra={"why": type(error).__name__})
                await connection.close()
                tries += 1
                await shutdown.pause(self._closing, wait)
        return None

    def _connect(self) -> Connection:
        content = self._settings.message_content
        connection = Connection(self._handlers, self._begin, content=content)
        self._handlers.client = connection
        more = STUDY if self._service.context.handlers.study.title else ()
        self._tree = build(
            connection, self._service.context.registry, LONGEST, self._handlers.command, more
        )
        return connection

    async def _begin(self, connection: Connection) -> None:
        log.info("Discord: logged in as %s", connection.user)
        log.info("Discord: invite it with %s", invite(connection.application_id))
        try:
            await sync(self._tree)
            log.info("Discord: commands synced")
        except (discord.DiscordException, Vanished, TooFast, *PASSING):
            log.exception("Discord: the commands were not synced; those of the last time stay")
        if not self._settings.message_content:
            log.info("Discord: message content is off; the bot reads what is addressed to it only")

    async def _listen(self, connection: Connection) -> None:
        while not self._closing.is_set():
            try:
                await connection.connect()
            except discord.PrivilegedIntentsRequired:
                raise SetupError(
                    "Discord does not give this bot the message content that MESSAGE_CONTENT asks for. "
                    f"Switch on the Message Content Intent (Bot page of {PORTAL}), or unset "
                    "MESSAGE_CONTENT."
                ) from None
            except discord.ConnectionClosed as error:
                raise SetupError(
                    f"Discord closed the connection for good (code {error.code}). If the token was "
                    f"reset meanwhile, set the new one as DISCORD_TOKEN: {PORTAL}"
                ) from None
            except Exception:
                log.exception("Discord: the connection broke in a way unknown; it is made anew")
                await shutdown.pause(self._closing, UNKNOWN_SECONDS)

    async def drain(self) -> None:
        left = list(self._handlers.showing)
        await asyncio.gather(*(showing.leave() for showing in left), return_exceptions=True)
        self._closing.set()
        if self._connection is not None:
            await self._connection.close()

    async def deliver(self, debt: Debt) -> None:
        try:
            address = Address.read(debt.address)
        except ValueError:
            log.warning("a debt has no address", extra={"job": debt.job})
            await self._service.deliveries.lost(debt.job, "no address")
            return
        try:
            async with asyncio.timeout(LOGIN_SECONDS):
                await self._there.wait()
        except TimeoutError:
            return
        messages = self._handlers.messages_at(address, debt.job)
        try:
            await self._handlers.respond(self._service.follow(debt.job), messages, who_at(address))
        except Exception:
            log.exception("a debt was not settled", extra={"job": debt.job})
            await self._service.deliveries.undelivered(debt.job)

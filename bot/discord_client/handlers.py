"""Handlers of what people say and press on Discord: each event once, answered where they are."""

import asyncio
import logging
from dataclasses import replace
from functools import partial

import discord

from bot.clients.pacing import DISCORD_SECONDS, Pace, Paces, TooFast, Vanished, why
from bot.discord_client import rendering
from bot.discord_client.errors import PASSING, Expired, Forbidden, Refused, insist
from bot.discord_client.identity import (
    PLATFORM,
    Address,
    address_by,
    address_of,
    addressed,
    who_pressed,
    who_wrote,
    words_of,
)
from bot.discord_client.live_answer import DiscordAnswer
from bot.discord_client.messages import ORIGINAL, AnswerMessages
from bot.discord_client.rendering import Interaction, files_of
from bot.locales import spoken, words
from bot.messages.buttons import Press
from bot.messages.escape import quoting
from bot.service.dispatch_table import Response
from bot.service.rate_limit import Bounded, Repeats
from bot.service.request import Reply, Who
from bot.service.service import ChatService
from engine.errors import KIND_SENTENCE, AskerError

ACK_SECONDS = 2.5  # Discord waits three
REMEMBERED = 10_000  # events, to know one that comes twice; answers, to delete all of one
WORDS_SECONDS = 120.0  # how long a reply in words is tried
SAME_SECONDS = 20.0  # the same refusal in a channel is not said again so soon

log = logging.getLogger(__name__)


class Handlers:
    """Handle the events of one connection, which it is given as `client`."""

    def __init__(self, service: ChatService) -> None:
        self.client: discord.Client | None = None
        self.showing: set[DiscordAnswer] = set()
        self._service = service
        self._paces = Paces()
        self._new = Repeats(REMEMBERED).new
        self._messages = Bounded[str, list[str]](REMEMBERED)  # of answers shown by this process

    async def command(self, interaction: Interaction, text: str, secret: bool) -> None:
        if self._new(interaction.id) and await acknowledged(interaction, secret=secret):
            address = address_of(interaction, shown=ORIGINAL, secret=secret)
            who = who_pressed(interaction, address, typed=text)
            await self._answer(text, who, self.messages_at(address))

    async def message(self, message: discord.Message) -> None:
        me = self.client.user if self.client else None
        address = address_by(message)
        who = who_wrote(message, address)
        ours, messages = addressed(message, me), self.messages_at(address)
        try:
            if not (ours or await self._service.listens(who)) or not self._new(message.id):
                return
            said = await words_of(message, me)
            who = replace(who, typed=said, borrowed=bool(message.message_snapshots))
            if not said and (message.attachments or message.stickers):
                if ours:
                    await self._say(Reply(words("talk.only_text", who.locale)), messages, who)
                return
            if message.reference is not None and not who.borrowed:
                name = f"{message.reference.channel_id}:{message.reference.message_id}"
                job = await self._service.context.services.outbox.job_of(PLATFORM, name)
                who = replace(who, reply_to=job)
                messages.meant = str(message.reference.message_id) if job else ""
        except Exception as error:  # noqa: BLE001 - the top of a handler
            if ours:
                await self._excuse(error, messages, who)
            return
        if who.reply_to and not said.startswith("/"):
            said = f"/continue {said}"
        await self._answer(said, who, messages)

    async def pressed(self, interaction: Interaction, press: Press) -> None:
        if not (self._new(interaction.id) and await acknowledged(interaction)):
            return
        address = address_of(interaction)
        who, messages = who_pressed(interaction, address), self.messages_at(address)
        messages.meant = ORIGINAL
        try:
            reply = await self._service.press(press, who)
            if isinstance(reply, Reply) and reply.replaces:  # a form goes on where it stands
                messages = self.messages_at(replace(address, shown=ORIGINAL, secret=True))
            await self.respond(reply, messages, who)
        except Exception as error:  # noqa: BLE001 - the top of a handler
            await self._excuse(error, messages, who)

    async def _delete(self, job: str, messages: AnswerMessages) -> None:
        """Delete the message that is meant, if any, and the answer's others as far as known."""
        addresses = [replace(messages.address, shown=messages.meant)] if messages.meant else []
        for name in self._messages.pop(job, []):
            channel, _, message = name.partition(":")
            addresses.append(replace(messages.address, token="", channel=channel, shown=message))
        for address in addresses:
            try:
                await insist(self.messages_at(address).remove, WORDS_SECONDS)
            except (Vanished, TooFast, *PASSING) as error:
                log.info("a message was not deleted", extra={"why": why(error)})

    async def unknown(self, interaction: Interaction) -> None:
        """Refuse a button of a program before this one, or of nobody's."""
        if self._new(interaction.id) and await acknowledged(interaction, secret=True):
            address = address_of(interaction)
            said = Reply(words("discord.unknown_button", address.locale), private=True)
            await self._say(said, self.messages_at(address), who_pressed(interaction, address))

    async def left(self, server: str, channels: tuple[str, ...]) -> None:
        await self._service.context.services.leave(PLATFORM, server, channels)

    async def respond(self, response: Response, messages: AnswerMessages, who: Who) -> None:
        """Show words, or an answer to its end. Raises what its events raise."""
        if isinstance(response, Reply):
            if response.deletes:
                await self._delete(response.deletes, messages)
            await self._say(response, messages, who)
            return
        live = DiscordAnswer(self._service, messages, self._pace(messages), who)
        self.showing.add(live)
        try:
            said = await live.follow(response)
        finally:
            self.showing.discard(live)
        if said is not None:
            await self._say(said, messages, who)
            return
        self._messages[messages.job] = messages.sent
        token = messages.address.token and messages.token_serves
        if (who.alone or token) and (invited := await live.invitation()):
            address = replace(messages.address, shown="", asked="", parts=0, secret=not who.alone)
            await self._say(invited, self.messages_at(address), who)

    async def _answer(self, text: str, who: Who, messages: AnswerMessages) -> None:
        try:
            reply = await self._service.say(await self._service.read(text, who.locale), who)
            await self.respond(reply, messages, who)
        except Exception as error:  # noqa: BLE001 - the top of a handler
            await self._excuse(error, messages, who)

    async def _excuse(self, error: Exception, messages: AnswerMessages, who: Who) -> None:
        if not isinstance(error, AskerError):
            log.error("a request failed", exc_info=error)
        said = str(error) if isinstance(error, AskerError) else KIND_SENTENCE
        text = quoting(spoken(said, who.locale))
        if messages.address.token:
            await self._say(Reply(text, private=True), messages, who)
        elif self._new(f"{who.asker} {who.place} {text}", SAME_SECONDS):
            await self._say(Reply(text), messages, who)

    async def _say(self, said: Reply, messages: AnswerMessages, who: Who) -> None:
        """Show a reply in words; a private one where only the asker sees it."""
        here = messages.address
        aside = said.private and not (said.replaces or here.secret or who.alone)
        try:
            if aside:
                if here.token and here.shown:
                    await insist(messages.remove, WORDS_SECONDS)
                messages = self.messages_at(replace(here, shown="", asked="", secret=True))
            files = said.files
            if said.pictures:
                limit = messages.address.limit
                files += await asyncio.to_thread(files_of, "", said.pictures, limit)
            *parts, last = rendering.said(said.text, said.choices, literal=said.literal)
            for number, part in enumerate([*parts, replace(last, files=files)]):
                if not messages.address.token:
                    await self._pace(messages).turn()
                put = partial(messages.add, number=number) if number else messages.show
                await insist(partial(put, part), WORDS_SECONDS)
        except (Vanished, TooFast, *PASSING) as error:
            log.info("a reply has nowhere to go", extra={"why": why(error)})
            await self._service.missed(said.receipt)
            if aside and not here.token and isinstance(error, Forbidden):
                unheard = Reply(words("discord.open_private", who.locale))
                await self._say(unheard, self.messages_at(here), who)
        else:
            await self._service.arrived(said.receipt)

    def messages_at(self, address: Address, job: str = "") -> AnswerMessages:
        assert self.client is not None, "attached before anything is heard"
        return AnswerMessages(address, self.client, job)

    def _pace(self, messages: AnswerMessages) -> Pace:
        # An interaction's edits have limits of their own; messages share their channel's.
        name = messages.address.token if messages.token_serves else messages.address.channel
        return self._paces.of(name, DISCORD_SECONDS)


async def acknowledged(interaction: Interaction, *, secret: bool = False) -> bool:
    """Tell Discord within its three seconds that an answer will come; say whether that worked."""
    button = interaction.type is discord.InteractionType.component
    defer = partial(interaction.response.defer, ephemeral=secret, thinking=not button)
    try:
        await insist(defer, ACK_SECONDS)
    except Expired:
        log.warning("an interaction came too late", extra={"interaction": interaction.id})
        return False
    except Refused:
        return True  # an attempt that seemed lost had arrived
    except (Vanished, TooFast, *PASSING) as error:
        log.warning("an interaction was not acknowledged", extra={"why": type(error).__name__})
        return False
    return True

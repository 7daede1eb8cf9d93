"""Handlers of what people say and press on Discord: each event once, answered where they are."""

import asyncio
import logging
from dataclasses import replace
from functools import partial

import discord

from bot.clients.pacing import DISCORD_SECONDS, Pace, Paces, TooFast, Vanished, why
from bot.discord_client import rendering
from bot.discord_client.address import Address, address_by, address_of
from bot.discord_client.attachments import words_of
from bot.discord_client.buttons import Interaction
from bot.discord_client.errors import PASSING, Expired, Refused, insist
from bot.discord_client.identity import PLATFORM, addressed, who_pressed, who_wrote
from bot.discord_client.live_answer import DiscordAnswer
from bot.discord_client.messages import ORIGINAL, AnswerMessages, Part
from bot.discord_client.modal import asked_in
from bot.discord_client.pictures import files_of
from bot.locales import words
from bot.messages.buttons import Press
from bot.messages.escape import quoting
from bot.service.dispatch_table import Events
from bot.service.repeats import Bounded, Repeats
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

    def __init__(self, talk: ChatService) -> None:
        self.client: discord.Client | None = None
        self.showing: set[DiscordAnswer] = set()
        self._talk = talk
        self._paces = Paces()
        self._new = Repeats(REMEMBERED).new
        self._messages = Bounded[str, list[str]](REMEMBERED)  # of answers shown by this process

    async def command(
        self,
        interaction: Interaction,
        text: str,
        secret: bool,
        reply_to: str = "",
        *,
        borrowed: bool = False,
    ) -> None:
        """Answer a command or a form: `reply_to` is the job whose answer it is about; `borrowed` words
        are a third person's."""
        if self._new(interaction.id) and await acknowledged(interaction, secret=secret):
            address = address_of(interaction, shown=ORIGINAL, secret=secret)
            who = who_pressed(interaction, address, text, reply_to, borrowed=borrowed)
            await self._answer(text, who, self.post(address))

    async def message(self, message: discord.Message) -> None:
        """Answer a message that was said to the bot, or where it may listen."""
        me = self.client.user if self.client else None
        address = address_by(message)
        who = who_wrote(message, address)
        ours, post = addressed(message, me), self.post(address)
        try:
            if not (ours or await self._talk.listens(who)) or not self._new(message.id):
                return
            said = await words_of(message, me)
            who = replace(who, typed=said, borrowed=bool(message.message_snapshots))
            if not said and (message.attachments or message.stickers):
                if ours:
                    await self._say(Reply(words("talk.only_text", who.locale)), post, who)
                return
            if message.reference is not None and not who.borrowed:
                name = f"{message.reference.channel_id}:{message.reference.message_id}"
                who = replace(who, reply_to=await self._talk.deliveries.job_of(PLATFORM, name))
        except Exception as error:  # noqa: BLE001 - the top of a handler
            if ours:
                await self._excuse(error, post, who)
            return
        if who.reply_to and not said.startswith("/"):
            said = f"/continue {said}"
        await self._answer(said, who, post)

    async def pressed(self, interaction: Interaction, press: Press) -> None:
        """Do what one of our buttons asks for."""
        if not (self._new(interaction.id) and await acknowledged(interaction)):
            return
        address = address_of(interaction)
        who, post = who_pressed(interaction, address), self.post(address)
        try:
            reply = await self._talk.press(press, who)
            if not isinstance(reply, Reply):
                await self.follow(reply, post, who)
                return
            if reply.deletes:
                await self._delete(press.job, post)
            if reply.replaces:  # a form goes on where it stands
                post = self.post(replace(address, shown=ORIGINAL, secret=True))
            await self._say(reply, post, who)
        except Exception as error:  # noqa: BLE001 - the top of a handler
            await self._excuse(error, post, who)

    async def _delete(self, job: str, post: AnswerMessages) -> None:
        """Delete the message that was pressed on, and the answer's other parts as far as known."""
        pressed = AnswerMessages(replace(post.address, shown=ORIGINAL), post.client)
        parts = [
            AnswerMessages(
                replace(post.address, token="", channel=channel, shown=message), post.client
            )
            for channel, _, message in (n.partition(":") for n in self._messages.pop(job, []))
        ]
        for each in (pressed, *parts):
            try:
                await insist(each.remove, WORDS_SECONDS)
            except (Vanished, TooFast, *PASSING) as error:
                log.info("a message was not deleted", extra={"why": why(error)})

    async def submitted(self, interaction: Interaction) -> None:
        """Answer the form of the context menu."""
        asked = asked_in(interaction.data)
        if asked is None:
            await self.unknown(interaction)
        else:
            text, job = asked  # a form that is not about our own answer is about somebody's message
            await self.command(interaction, text, False, job, borrowed=not job)

    async def unknown(self, interaction: Interaction) -> None:
        """Refuse a button or form of a program before this one, or of nobody's."""
        if self._new(interaction.id) and await acknowledged(interaction, secret=True):
            address = address_of(interaction)
            text = words("discord.unknown_button", address.locale)
            said = Reply(text, private=True)
            await self._say(said, self.post(address), who_pressed(interaction, address))

    async def left(self, server: str, channels: tuple[str, ...]) -> None:
        """Forget a server that the bot was sent away from."""
        await self._talk.left(PLATFORM, server, channels)

    async def follow(self, events: Events, post: AnswerMessages, who: Who) -> None:
        """Show an answer to its end. Raises what `events` raises."""
        live = DiscordAnswer(self._talk, post, self._pace(post), who)
        self.showing.add(live)
        try:
            said = await live.follow(events)
        finally:
            self.showing.discard(live)
        if said is not None:
            await self._say(said, post, who)
            return
        if len(post.messages) > 1:
            self._messages[post.job] = post.messages
        token = post.address.token and post.token_serves
        if (who.private or token) and (invited := await live.invitation()):
            address = replace(post.address, shown="", asked="", parts=0, secret=not who.private)
            await self._say(invited, self.post(address), who)

    async def _answer(self, text: str, who: Who, post: AnswerMessages) -> None:
        try:
            command = self._talk.parse(text)
            reply = await self._talk.say(command, who)
            if isinstance(reply, Reply):
                await self._say(reply, post, who)
            else:
                await self.follow(reply, post, who)
        except Exception as error:  # noqa: BLE001 - the top of a handler
            await self._excuse(error, post, who)

    async def _excuse(self, error: Exception, post: AnswerMessages, who: Who) -> None:
        """Tell the asker what went wrong; log whole what is ours to mend."""
        if not isinstance(error, AskerError):
            log.error("a request failed", exc_info=error)
        text = quoting(str(error)) if isinstance(error, AskerError) else KIND_SENTENCE
        if post.address.token:
            await self._say(Reply(text, private=True), post, who)
        elif self._new(f"{who.asker} {who.place} {text}", SAME_SECONDS):
            await self._say(Reply(text), post, who)

    async def _say(self, said: Reply, post: AnswerMessages, who: Who) -> None:
        """Show a reply in words; a private one where only the asker sees it."""
        try:
            aside = said.private and not said.replaces
            if aside and not post.address.secret and not who.private:
                post = await self._aside(post)
            pages = await self._pages(said, post)
            for part, page in enumerate(pages):
                if not post.address.token:
                    await self._pace(post).turn()
                await insist(partial(_put, post, page, part), WORDS_SECONDS)
        except (Vanished, TooFast, *PASSING) as error:
            log.info("a reply has nowhere to go", extra={"why": why(error)})
            await self._talk.missed(said.receipt)
        else:
            await self._talk.arrived(said.receipt)

    async def _pages(self, said: Reply, post: AnswerMessages) -> list[Part]:
        pages = rendering.said(said.text, said.choices, literal=said.literal)
        files = said.files
        if said.pictures:
            files += await asyncio.to_thread(files_of, "", said.pictures, post.address.limit)
        return [*pages[:-1], replace(pages[-1], files=files)] if files else pages

    async def _aside(self, post: AnswerMessages) -> AnswerMessages:
        """Go on in the same place, where only the asker sees it."""
        if post.address.token and post.address.shown:
            await insist(post.remove, WORDS_SECONDS)
        return self.post(replace(post.address, shown="", asked="", secret=True))

    def post(self, address: Address, job: str = "") -> AnswerMessages:
        """Make an answer's messages."""
        assert self.client is not None, "attached before anything is heard"
        return AnswerMessages(address, self.client, job)

    def _pace(self, post: AnswerMessages) -> Pace:
        # An interaction's edits have limits of their own; messages share their channel's.
        name = post.address.token if post.token_serves else post.address.channel
        return self._paces.of(name, DISCORD_SECONDS)


async def _put(post: AnswerMessages, page: Part, part: int) -> None:
    if part:
        await post.add(page, part)
    else:
        await post.show(page)


async def acknowledged(interaction: Interaction, *, secret: bool = False) -> bool:
    """Tell Discord within its three seconds that an answer will come; say whether that worked."""
    button = interaction.type is discord.InteractionType.component

    async def defer() -> None:
        await interaction.response.defer(ephemeral=secret, thinking=not button)

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

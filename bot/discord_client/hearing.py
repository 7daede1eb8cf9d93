"""What people say and press on Discord, each once, answered where they are."""

import logging
import time
from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import replace
from functools import partial

import discord

from bot.buttons import Press
from bot.conversation import Said, Who
from bot.discord_client import layout
from bot.discord_client.addresses import FILE_BYTES, Address
from bot.discord_client.answers import Showing
from bot.discord_client.components import job_in
from bot.discord_client.connection import Interaction
from bot.discord_client.faults import PASSING, Expired, Refused, insist
from bot.discord_client.people import addressed, spoken, who_pressed, who_wrote
from bot.discord_client.posts import ORIGINAL, Page, Post
from bot.grammar import parse
from bot.locales import words
from bot.pacing import DISCORD_SECONDS, Pace, Paces, TooFast, Vanished
from bot.talk import Talk
from engine.errors import KIND_SENTENCE, AskerError
from engine.events import Event

ACK_SECONDS = 2.5  # Discord waits three
REMEMBERED = 10_000  # events, to know one that comes twice
WORDS_SECONDS = 120.0  # how long a reply in words is tried

log = logging.getLogger(__name__)


class Hearing:
    """One for a connection. `closed` once nothing new is taken."""

    def __init__(self, talk: Talk) -> None:
        self.client: discord.Client | None = None
        self.closed = False
        self.showing: set[Showing] = set()
        self._talk = talk
        self._paces = Paces()
        self._seen: OrderedDict[int, None] = OrderedDict()

    def _new(self, event: int) -> bool:
        """Whether that event comes for the first time."""
        if event in self._seen:
            return False
        self._seen[event] = None
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)
        return True

    async def command(
        self, interaction: Interaction, text: str, secret: bool, reply_to: str = ""
    ) -> None:
        """See continuing.Typed."""
        if self._new(interaction.id) and await acknowledged(interaction, secret=secret):
            who = who_pressed(interaction, text, reply_to)
            post = self.post(address_of(interaction, shown=ORIGINAL, secret=secret))
            await self._answer(text, who, post)

    async def message(self, message: discord.Message) -> None:
        """An ordinary message: answered if it was said to the bot, or where it may listen."""
        me = self.client.user if self.client else None
        before = message.reference.resolved if message.reference else None
        job = job_in(before) if isinstance(before, discord.Message) else None
        said = spoken(message.content, me)
        who = who_wrote(message, said, job or "")
        if not addressed(message, me) and not await self._talk.listens(who):
            return
        if not self._new(message.id):
            return
        address = Address(
            channel=str(message.channel.id),
            asker=who.asker,
            asked=str(message.id),
            limit=message.guild.filesize_limit if message.guild else FILE_BYTES,
            locale=who.locale,
        )
        await self._answer(said, who, self.post(address))

    async def pressed(self, interaction: Interaction, press: Press) -> None:
        """One of our buttons; its own message stays as it is."""
        if not (self._new(interaction.id) and await acknowledged(interaction)):
            return
        who = who_pressed(interaction, reply_to=press.job)
        post = self.post(address_of(interaction))
        try:
            reply = await self._talk.press(press, who)
            if isinstance(reply, Said):
                await self._say(reply, post)
            else:
                await self.follow(reply, post)
        except Exception as error:  # noqa: BLE001 - the top of a handler
            await self._excuse(error, post)

    async def unknown(self, interaction: Interaction) -> None:
        """A button of a program before this one, or of nobody's."""
        if self._new(interaction.id) and await acknowledged(interaction):
            text = words("discord.unknown_button", interaction.locale.value)
            await self._say(Said(text, private=True), self.post(address_of(interaction)))

    async def follow(self, events: AsyncGenerator[Event | Said], post: Post) -> None:
        """An answer on its way, to its end."""
        showing = Showing(self._talk, post, self._pace(post))
        self.showing.add(showing)
        try:
            said = await showing.follow(events)
        finally:
            self.showing.discard(showing)
        if said is not None:
            await self._say(said, post)

    async def _answer(self, text: str, who: Who, post: Post) -> None:
        try:
            if self.closed:
                raise AskerError(words("discord.closed", who.locale))
            command = parse(text, self._talk.core.registry.commands)
            await self.follow(self._talk.say(command, who), post)
        except Exception as error:  # noqa: BLE001 - the top of a handler
            await self._excuse(error, post)

    async def _excuse(self, error: Exception, post: Post) -> None:
        """What went wrong, in words for the asker; what is ours to mend is logged whole."""
        if not isinstance(error, AskerError):
            log.error("a request failed", exc_info=error)
        text = str(error) if isinstance(error, AskerError) else KIND_SENTENCE
        await self._say(Said(text, private=True), post)

    async def _say(self, said: Said, post: Post) -> None:
        """A reply in words; one that is the asker's alone where Discord can show it so."""
        pages = layout.said(said.text, (said.ask,) if said.ask else ())
        try:
            if said.private and post.address.token and not post.address.secret:
                post = await self._aside(post)
            for part, page in enumerate(pages):
                await insist(partial(_put, post, page, part), WORDS_SECONDS)
        except (Vanished, TooFast, *PASSING) as error:
            log.info("a reply has nowhere to go", extra={"why": f"{type(error).__name__}: {error}"})

    async def _aside(self, post: Post) -> Post:
        """The same place, where only the asker sees it."""
        if post.address.shown:
            await insist(post.remove, WORDS_SECONDS)
        return self.post(replace(post.address, shown="", secret=True))

    def post(self, address: Address, job: str = "") -> Post:
        """An answer's messages."""
        assert self.client is not None, "attached before anything is heard"
        return Post(address, self.client, job)

    def _pace(self, post: Post) -> Pace:
        """An interaction's edits have limits of their own; messages share their channel's."""
        name = post.address.token if post.token_serves else post.address.channel
        return self._paces.of(name, DISCORD_SECONDS)


async def _put(post: Post, page: Page, part: int) -> None:
    if part:
        await post.add(page, part)
    else:
        await post.show(page)


def address_of(interaction: Interaction, *, shown: str = "", secret: bool = False) -> Address:
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


async def acknowledged(interaction: Interaction, *, secret: bool = False) -> bool:
    """Tell Discord within its three seconds that an answer will come; False if that failed."""
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

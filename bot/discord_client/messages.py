"""One answer's messages on Discord: the first grows by edits, the rest follow below it.

While an interaction's token lives, it carries them; past 14 minutes, or when Discord calls it expired,
the channel does, under an idempotency key, and where the channel is closed, the asker's own messages.
"""

import hashlib
import io
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import discord

from bot.clients.pacing import Vanished
from bot.discord_client.errors import Expired, Stale, translated
from bot.discord_client.identity import TOKEN_SECONDS, Address
from bot.discord_client.rendering import Part, view_of
from bot.locales import words

NOBODY = discord.AllowedMentions.none()
ORIGINAL = "@original"
MOST_ALT = 1024
NONCE = 25  # characters; Discord takes no more
ANEW = 99  # the place of a first message that takes an older one's
HOOK = 3  # the type of a webhook that belongs to an application

log = logging.getLogger(__name__)


class AnswerMessages:
    """Send the messages of one answer. `address` grows with them; keep it for a restart."""

    def __init__(
        self,
        address: Address,
        client: discord.Client,
        job: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.address = address
        self.job = job
        self.sent: list[str] = []  # "channel:message"
        self.meant = ""  # the message of ours that was pressed on or replied to
        self.client = client
        self._clock = clock
        self._files: tuple[tuple[str, bytes], ...] = ()
        self._place = 0  # of the first message among those of the answer, for its nonce

    @property
    def token_serves(self) -> bool:
        """Whether edits go through the interaction, whose limits are its own and not the channel's."""
        return bool(self.address.token) and self._clock() - self.address.born < TOKEN_SECONDS

    async def show(self, part: Part) -> None:
        """Put it in the first message. Raises TooFast or Vanished, or what may pass."""
        try:
            if self.address.token and not self.token_serves:
                await self._move()
            if self.address.token:
                try:
                    await self._show_by_token(part)
                    return
                except Expired:
                    self._leave()
            await self._show_in_channel(part)
        except Stale:
            await self._show_anew(part)

    async def _show_anew(self, part: Part) -> None:
        """Send a new message, which brings an archived thread back; then delete the old one."""
        old = AnswerMessages(self.address, self.client, clock=self._clock)
        self._leave()
        self._place = ANEW
        await self._show_in_channel(part)
        try:
            await old.remove()
        except discord.HTTPException as error:
            log.info("an old message stays", extra={"why": error.code})

    async def add(self, part: Part, number: int) -> None:
        """Send one more message, the answer's `number`th. Raises as show()."""
        try:
            if not self.token_serves:
                raise Expired
            with translated():
                made = await self._hook().send(**_sent(part, secret=self.address.secret))
            self._note(made.id)
        except Expired:
            with translated():
                await self._send_in_channel(part, number)
        self.address = replace(self.address, parts=number)

    async def remove(self) -> None:
        shown = self.address.shown
        try:
            if self.token_serves:
                await self._hook().delete_message(_id(shown or ORIGINAL))
            elif shown:
                await self._channel().get_partial_message(int(shown)).delete()
        except discord.NotFound:
            log.debug("a message was gone before it was deleted")

    # through the interaction's token

    def _hook(self) -> discord.Webhook:
        state = self.client._connection  # as discord.py's own Interaction.followup does
        data: Any = {"id": self.client.application_id, "type": HOOK, "token": self.address.token}
        return discord.Webhook.from_state(data=data, state=state)

    async def _show_by_token(self, part: Part) -> None:
        shown = self.address.shown
        with translated():
            if shown:
                made = await self._hook().edit_message(_id(shown), **self._edited(part))
                self._note(made.id)
            else:
                made = await self._hook().send(**_sent(part, secret=self.address.secret))
                self._note(made.id, first=True)
        self._files = part.files

    async def _move(self) -> None:
        """Say where the token is about to end that the answer goes on below."""
        text = words("discord.moved", self.address.locale)
        if self.address.shown:
            try:
                where = _id(self.address.shown)
                hook = self._hook()
                await hook.edit_message(where, content=text, view=None, allowed_mentions=NOBODY)
            except discord.HTTPException as error:
                log.info("an interaction ended before its answer", extra={"why": error.code})
        self._leave()

    def _leave(self) -> None:
        self.address = replace(self.address, token="", shown="")
        self._files = ()

    # as the bot itself

    def _channel(self) -> discord.PartialMessageable:
        return self.client.get_partial_messageable(int(self.address.channel))

    async def _show_in_channel(self, part: Part) -> None:
        with translated():
            if self.address.shown:
                message = self._channel().get_partial_message(int(self.address.shown))
                await message.edit(**self._edited(part))
                self._note(message.id)
            else:
                made = await self._send_in_channel(part, self._place)
                self._note(made.id, first=True)
                if made.content.strip() != part.text.strip():  # by its nonce, a draft thought lost
                    await made.edit(**self._edited(part))
        self._files = part.files

    async def _send_in_channel(self, part: Part, number: int) -> discord.Message:
        if self.address.secret:
            return await self._tell(part, number)
        try:
            with translated():
                return await self._send(part, number)
        except Vanished:
            if self.address.shown:
                raise  # its first message stands there; the rest elsewhere would be a riddle
            return await self._tell(part, number)

    async def _tell(self, part: Part, number: int) -> discord.Message:
        """Send it to the asker's own messages with the bot, after a word on why there."""
        where, refused = self.address.channel, not self.address.secret
        made = await self.client.http.start_private_message(int(self.address.asker))
        self.address = replace(self.address, channel=str(made["id"]), asked="", secret=False)
        if refused:
            why = words("discord.forbidden", self.address.locale, channel=f"<#{where}>")
            await self._channel().send(why, allowed_mentions=NOBODY)
        return await self._send(part, number)

    async def _send(self, part: Part, number: int) -> discord.Message:
        channel, values = self._channel(), _sent(part)
        if self.address.asked and number == self._place:
            values["reference"] = discord.MessageReference(
                message_id=int(self.address.asked), channel_id=channel.id, fail_if_not_exists=False
            )
            values["mention_author"] = False
        if self.job:
            # the same for the same part of the same answer, so that sent twice it stands there once
            values["nonce"] = hashlib.sha256(f"{self.job}:{number}".encode()).hexdigest()[:NONCE]
        made = await channel.send(**values)
        self._note(made.id)
        return made

    def _note(self, message: int, *, first: bool = False) -> None:
        if first:
            self.address = replace(self.address, shown=str(message))
        name = f"{self.address.channel}:{message}"
        if name not in self.sent:
            self.sent.append(name)

    def _edited(self, part: Part) -> dict[str, Any]:
        """Make an edit's arguments; files only if they are others than those that stand there."""
        values: dict[str, Any] = {"content": part.text or None, "view": view_of(part.rows)}
        if part.files != self._files:
            values["attachments"] = _files(part)
        return values | {"allowed_mentions": NOBODY}


def _sent(part: Part, *, secret: bool = False) -> dict[str, Any]:
    values: dict[str, Any] = {"content": part.text or None, "allowed_mentions": NOBODY}
    if (view := view_of(part.rows)) is not None:
        values["view"] = view
    if part.files:
        values["files"] = _files(part)
    return values | ({"ephemeral": True} if secret else {})


def _files(part: Part) -> list[discord.File]:
    alt = part.alt[:MOST_ALT] or None
    return [discord.File(io.BytesIO(d), filename=n, description=alt) for n, d in part.files]


def _id(name: str) -> Any:
    """Read a message's id, or the name that Discord gives an interaction's own response."""
    return name if name == ORIGINAL else int(name)

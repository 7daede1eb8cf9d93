"""One answer's messages on Discord: the first grows by edits, the rest follow below it.

While an interaction's token lives, it carries them; past 14 minutes, or when Discord calls it expired,
the channel does, under an idempotency key, and where the channel is closed, the asker's own messages.
"""

import io
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import discord
from discord.utils import MISSING

from bot.clients.client import nonce
from bot.clients.pacing import Vanished
from bot.discord_client.address import Address
from bot.discord_client.buttons import view_of
from bot.discord_client.errors import Expired, Forbidden, Stale, translated
from bot.locales import words
from bot.messages.buttons import Rows

NOBODY = discord.AllowedMentions.none()
ORIGINAL = "@original"
MOST_ALT = 1024
ANEW = 99  # the place of a first message that takes an older one's
HOOK = 3  # the type of a webhook that belongs to an application

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What one message shows: text of at most 2000 characters, buttons, files as (name, bytes), and
    words for those who cannot see them."""

    text: str
    rows: Rows = ()
    files: tuple[tuple[str, bytes], ...] = ()
    alt: str = ""


class AnswerMessages:
    """The messages of one answer. `address` grows with what was sent; keep it for a restart."""

    def __init__(
        self,
        address: Address,
        client: discord.Client,
        job: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.address = address
        self.job = job
        self.messages: list[str] = []  # "channel:message" of all that was sent
        self.client = client
        self._clock = clock
        self._files: tuple[tuple[str, bytes], ...] = ()
        self._place = 0  # of the first message among those of the answer, for its nonce

    @property
    def token_serves(self) -> bool:
        """Whether edits go through the interaction, whose limits are its own and not the channel's."""
        return self.address.by_token(self._clock())

    async def show(self, page: Part) -> None:
        """Put it in the first message. Raises TooFast or Vanished, or what may pass."""
        with translated():
            if self.address.token and not self.token_serves:
                await self._move()
            if self.address.token:
                try:
                    await self._show_by_token(page)
                except Expired:
                    self._leave()
                except Stale:
                    await self._show_anew(page)
            if not self.address.token:
                try:
                    await self._show_in_channel(page)
                except Stale:
                    await self._show_anew(page)

    async def _show_anew(self, page: Part) -> None:
        """In a new message, which brings an archived thread back; then the old one can go."""
        old = AnswerMessages(self.address, self.client, clock=self._clock)
        self._leave()
        self._place = ANEW
        await self._show_in_channel(page)
        try:
            await old.remove()
        except discord.HTTPException as error:
            log.info("an old message stays", extra={"why": error.code})

    async def add(self, page: Part, part: int) -> None:
        """One more message, the answer's `part`th. Raises as show()."""
        with translated():
            if self.address.token and self.token_serves:
                try:
                    made = await self._hook().send(**_sent(page, secret=self.address.secret))
                    self._note(made.id)
                    self.address = replace(self.address, parts=part)
                    return
                except discord.HTTPException as error:
                    if not _expired(error):
                        raise
            await self._send_in_channel(page, part)
            self.address = replace(self.address, parts=part)

    async def remove(self) -> None:
        """Take the first message away; one that is gone already is as well."""
        shown = self.address.shown
        try:
            if self.address.token and self.token_serves:
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

    async def _show_by_token(self, page: Part) -> None:
        with translated():
            if self.address.shown:
                shown = _id(self.address.shown)
                edited = await self._hook().edit_message(shown, **self._edited(page))
                self._note(edited.id)
            else:
                made = await self._hook().send(**_sent(page, secret=self.address.secret))
                self._sent_as(made.id)
        self._files = page.files

    async def _move(self) -> None:
        """The token is about to end: say there where the answer goes on."""
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

    async def _show_in_channel(self, page: Part) -> None:
        if self.address.shown:
            message = self._channel().get_partial_message(int(self.address.shown))
            with translated():
                await message.edit(**self._edited(page))
            self._note(message.id)
        else:
            made = await self._send_in_channel(page, self._place)
            self._sent_as(made.id)
        self._files = page.files

    async def _send_in_channel(self, page: Part, part: int) -> discord.Message:
        if self.address.secret:
            return await self._tell(page, part)
        try:
            with translated():
                return await self._send(self._channel(), page, part)
        except (Forbidden, Vanished):
            if self.address.shown:
                raise  # its first message stands there; the rest elsewhere would be a riddle
            return await self._tell(page, part)

    async def _tell(self, page: Part, part: int) -> discord.Message:
        """In the asker's own messages with the bot, after a word on why there."""
        where, refused = self.address.channel, not self.address.secret
        made = await self.client.http.start_private_message(int(self.address.asker))
        self.address = replace(self.address, channel=str(made["id"]), asked="", secret=False)
        if refused:
            why = words("discord.forbidden", self.address.locale, channel=f"<#{where}>")
            await self._channel().send(why, allowed_mentions=NOBODY)
        return await self._send(self._channel(), page, part)

    async def _send(
        self, channel: discord.PartialMessageable, page: Part, part: int
    ) -> discord.Message:
        reference = MISSING
        if self.address.asked and part == self._place:
            reference = discord.MessageReference(
                message_id=int(self.address.asked), channel_id=channel.id, fail_if_not_exists=False
            )
        values = _sent(page)
        if reference is not MISSING:
            values |= {"reference": reference, "mention_author": False}
        if self.job:
            values["nonce"] = nonce(self.job, part)
        made = await channel.send(**values)
        self._note(made.id)
        return made

    def _sent_as(self, message: int) -> None:
        self.address = replace(self.address, shown=str(message))
        self._note(message)

    def _note(self, message: int) -> None:
        name = f"{self.address.channel}:{message}"
        if name not in self.messages:
            self.messages.append(name)

    def _edited(self, page: Part) -> dict[str, Any]:
        """Arguments of an edit; files only if they are others than those that stand there."""
        values: dict[str, Any] = {"content": page.text or None, "view": view_of(page.rows)}
        if page.files != self._files:
            values["attachments"] = _files(page)
        return values | {"allowed_mentions": NOBODY}


def _sent(page: Part, *, secret: bool = False) -> dict[str, Any]:
    values: dict[str, Any] = {"content": page.text or None, "allowed_mentions": NOBODY}
    view = view_of(page.rows)
    if view is not None:
        values["view"] = view
    if page.files:
        values["files"] = _files(page)
    return values | ({"ephemeral": True} if secret else {})


def _files(page: Part) -> list[discord.File]:
    alt = page.alt[:MOST_ALT] or None
    return [discord.File(io.BytesIO(d), filename=n, description=alt) for n, d in page.files]


def _id(name: str) -> Any:
    """A message's id, or the name that Discord gives an interaction's own response."""
    return name if name == ORIGINAL else int(name)


def _expired(error: discord.HTTPException) -> bool:
    try:
        with translated():
            raise error
    except Expired:
        return True
    except Exception:  # noqa: BLE001 - only asked what kind it is
        return False

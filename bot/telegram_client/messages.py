"""Everything that is sent to chats, each at its pace, and in another form where one is refused."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

from telegram import (
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputFile,
    InputMediaPhoto,
    LinkPreviewOptions,
    ReplyParameters,
)
from telegram.error import InvalidToken, TelegramError

from bot.clients.pacing import (
    GROUP_SECONDS,
    TELEGRAM_SECONDS,
    Clock,
    Coalescer,
    Pace,
    Paces,
    Vanished,
)
from bot.messages.buttons import Rows
from bot.telegram_client.api import Api, Lost, Moved, NoThread, Place, Unchanged, Unsure, translated
from bot.telegram_client.rendering import File, Part, Photo, TextMessage

OVERALL_SECONDS = 0.04  # between any two messages: 25 a second
FLOOD_SECONDS = 86_400.0  # penalties of hours occur; words that are no answer wait for their end
ANSWER = 200  # characters of a notice above the chat
MANAGERS = ("creator", "administrator")
NO_PREVIEW = LinkPreviewOptions(is_disabled=True)
FORMS = 3  # topic or chat, old or new id

Result = TypeVar("Result")
Call = Callable[[Place], Awaitable[Result]]

log = logging.getLogger(__name__)


class Sender:
    """Send to chats. Methods raise TooFast and Vanished (bot.clients.pacing), or a passing fault."""

    def __init__(self, api: Api, clock: Clock | None = None) -> None:
        self._api = api
        self._paces = Paces(clock)
        self._overall = Pace(OVERALL_SECONDS, clock)
        self._moved: dict[int, int] = {}

    def grown(self, chat: int, now: int) -> None:
        self._moved[chat] = now

    def pace(self, place: Place) -> Pace:
        return self._paces.of(str(place.chat), TELEGRAM_SECONDS if place.private else GROUP_SECONDS)

    async def deliver(
        self, place: Place, part: Part, reply_to: int = 0, longest: float = FLOOD_SECONDS
    ) -> int:
        """Send it once, if it takes no longer. Raises Unsure, Vanished, TooFast."""
        sent: list[int] = []

        async def once(part: Part) -> None:
            sent.append(await self.put(place, part, reply_to))

        await Coalescer(self.pace(place), once, deadline=longest).finish(part)
        return sent[-1]

    async def settle(self, place: Place, message: int, part: Part, *, media: bool = False) -> None:
        """Change it, however long that takes: it is what somebody waits for, and may be repeated."""
        change = partial(self.change, place, message, media=media)
        await Coalescer(self.pace(place), change, deadline=FLOOD_SECONDS).finish(part)

    async def put(self, place: Place, part: Part, reply_to: int = 0) -> int:
        """Send it now, once; give the message's number. Raises Unsure too."""
        about: dict[str, Any] = {"reply_markup": _keyboard(part.rows)}
        if reply_to:  # which may be deleted meanwhile
            about["reply_parameters"] = ReplyParameters(reply_to, allow_sending_without_reply=True)

        async def call(where: Place) -> int:
            words, shared = part.text, {**about, "message_thread_id": where.thread or None}
            match part:
                case Photo(data=data):
                    sending = self._api.send_photo(where.chat, data, caption=words, **shared)
                case File(data=data, name=name):
                    file = InputFile(data, filename=name)
                    sending = self._api.send_document(where.chat, file, caption=words, **shared)
                case TextMessage():
                    shared["link_preview_options"] = NO_PREVIEW
                    sending = self._api.send_message(where.chat, words, **shared)
            return int((await sending).message_id)

        return await self._tried(place, call) or 0

    async def change(self, place: Place, message: int, part: Part, *, media: bool = False) -> None:
        """Let the message be that; `media` if it is a picture so far. Raises Lost if it is gone."""
        keyboard: dict[str, Any] = {"reply_markup": _keyboard(part.rows)}

        async def call(where: Place) -> None:
            if isinstance(part, Photo):
                picture = InputMediaPhoto(part.data, caption=part.text)
                try:
                    await self._api.edit_message_media(picture, where.chat, message, **keyboard)
                except InvalidToken as error:  # a Bot API server without this method
                    raise Lost("a picture cannot be put there") from error
            elif media:
                about = {"caption": part.text, **keyboard}
                await self._api.edit_message_caption(where.chat, message, **about)
            else:
                about = {"link_preview_options": NO_PREVIEW, **keyboard}
                await self._api.edit_message_text(part.text, where.chat, message, **about)

        await self._again(place, call)

    async def delete(self, place: Place, message: int) -> bool:
        try:
            await self._again(place, lambda where: self._api.delete_message(where.chat, message))
        except (Vanished, TelegramError, ConnectionError):
            return False
        return True

    async def notice(self, query: str, text: str = "") -> None:
        """Answer a button's press; the text is seen by nobody else. Pressed too long ago: nothing."""
        cut = text if len(text) <= ANSWER else text[: ANSWER - 1] + "…"
        try:
            await self._api.answer_callback_query(query, cut or None, show_alert=len(cut) > 60)
        except TelegramError as error:
            log.debug("no notice", extra={"why": type(error).__name__})

    async def manages(self, place: Place, user: int) -> bool:
        if place.private:
            return True
        try:
            return await self._api.standing(place.chat, user) in MANAGERS
        except TelegramError:
            return False

    async def _again(self, place: Place, call: Call[object]) -> None:
        """Make a call that may be made twice: not knowing whether it arrived is a passing fault."""
        try:
            await self._tried(place, call)
        except Unsure as error:
            raise ConnectionError("the connection broke") from error

    async def _tried(self, place: Place, call: Call[Result]) -> Result | None:
        """Make the call in the form that Telegram takes; None if an edit changed nothing."""
        for _form in range(FORMS):
            where = Place(chat=self._moved.get(place.chat, place.chat), thread=place.thread)
            await self._overall.turn()
            try:
                with translated():
                    return await call(where)
            except Unchanged:
                return None
            except NoThread:
                place = Place(chat=place.chat)
            except Moved as error:
                self._moved[place.chat] = error.chat
        raise Vanished("refused in every form")


def _keyboard(rows: Rows) -> InlineKeyboardMarkup | None:
    if not rows:
        return None
    return InlineKeyboardMarkup(
        [[InlineKeyboardButton(b.label, callback_data=b.data) for b in row] for row in rows]
    )

"""The Bot API as this client needs it: python-telegram-bot's Bot, raw updates, faults, and places.

Its updater is not used: an update that it cannot read stops it for good, since it asks for the same
one again and again.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx
from telegram import Bot
from telegram.error import BadRequest, ChatMigrated, Forbidden, NetworkError, RetryAfter
from telegram.request import HTTPXRequest

from bot.clients.pacing import TooFast, Vanished

OFFICIAL = "https://api.telegram.org"
READ_SECONDS = 20.0
UPLOAD_SECONDS = 120.0
POLL_SECONDS = 50  # a long poll is held this long
ALLOWED = ("message", "callback_query", "my_chat_member")
CONNECTIONS = 64
# Nothing was sent when it fails so, and it may be sent again.
_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)


class Unchanged(Exception):
    """The message is that already."""


class NoThread(Exception):
    """The topic is gone, or was never one: send it to the chat."""


class Moved(Exception):
    """The group became a supergroup with another id."""

    def __init__(self, chat: int) -> None:
        super().__init__("the group has another id")
        self.chat = chat


class Unsure(Vanished):
    """The connection broke after something was sent: it may have arrived, or not."""


class Lost(Vanished):
    """The message is gone; the chat is there."""


class Barred(Vanished):
    """The chat is there, but the bot lacks a right in it that an administrator can give."""


class Api(Bot):
    """Give updates as they come. It logs nothing, since its log lines hold secrets."""

    def __init__(self, token: str, base: str = "") -> None:
        os.environ.setdefault("PTB_TIMEDELTA", "true")  # else each flood control warns on stderr
        for name in ("telegram", "telegram.ext", "telegram.Bot", "telegram.request"):
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # it logs what people typed
        address = (base or OFFICIAL).rstrip("/")
        super().__init__(
            token,
            base_url=f"{address}/bot",
            base_file_url=f"{address}/file/bot",
            request=_request(CONNECTIONS),
            get_updates_request=_request(1),
        )

    async def _post(self, endpoint: str, data: Any = None, **more: Any) -> Any:
        # Of a sent message only its number matters: nothing else in it may be a stumbling block.
        given = await super()._post(endpoint, data, **more)
        if isinstance(given, dict) and "message_id" in given:
            chat = {"id": 0, "type": "private"}
            return {"message_id": int(given["message_id"]), "date": 0, "chat": chat}
        return given

    async def standing(self, chat: int, user: int) -> str:
        """Ask what the user is in the chat: "creator", "administrator", "member" and others."""
        given = await self._post("getChatMember", {"chat_id": chat, "user_id": user})
        return str(given.get("status", "")) if isinstance(given, dict) else ""

    async def updates(self, offset: int | None) -> list[Any]:
        """Fetch new updates. Waits POLL_SECONDS for the first."""
        given = await self._post(
            "getUpdates",
            {"offset": offset, "timeout": POLL_SECONDS, "allowed_updates": list(ALLOWED)},
            read_timeout=POLL_SECONDS + READ_SECONDS,
        )
        if not isinstance(given, list):
            raise NetworkError("the updates are no list")
        return given


def _request(connections: int) -> HTTPXRequest:
    return HTTPXRequest(
        connection_pool_size=connections,
        read_timeout=READ_SECONDS,
        write_timeout=READ_SECONDS,
        connect_timeout=10.0,
        pool_timeout=30.0,
        media_write_timeout=UPLOAD_SECONDS,
    )


_REFUSALS: tuple[tuple[tuple[str, ...], Exception], ...] = (  # words of a BadRequest, meanings
    (("message is not modified",), Unchanged()),
    (("message thread not found",), NoThread()),
    (
        ("not enough rights", "have no rights", "chat_write_forbidden", "need administrator",
         "topic_closed"),
        Barred("the bot lacks a right here"),
    ),
    (
        ("message to edit not found", "message can't be edited", "message to delete not found",
         "message can't be deleted", "message_id_invalid"),
        Lost("the message is gone"),
    ),
)  # fmt: skip


@contextmanager
def translated() -> Iterator[None]:
    """Translate what the platform says to one call into TooFast, Vanished and the others above."""
    try:
        yield
    except RetryAfter as error:
        raise TooFast(seconds_of(error)) from error
    except Forbidden as error:
        raise Vanished("the bot was blocked or sent away") from error
    except ChatMigrated as error:
        raise Moved(error.new_chat_id) from error
    except BadRequest as error:
        said = str(error).lower()
        for phrases, meaning in _REFUSALS:
            if any(phrase in said for phrase in phrases):
                raise type(meaning)(*meaning.args) from error
        raise Vanished(f"refused: {said[:80]}") from error
    except NetworkError as error:
        if isinstance(error.__cause__, httpx.HTTPError) and not isinstance(
            error.__cause__, _UNSENT
        ):
            raise Unsure("the connection broke") from error
        raise


def seconds_of(error: RetryAfter) -> float:
    value = error.retry_after
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Name a chat; `thread` is a forum topic's id, 0 outside of forums and in the topic General."""

    chat: int
    thread: int = 0

    @property
    def private(self) -> bool:
        """Say whether this is a conversation with one person: its id is that person's, and positive."""
        return self.chat > 0

    @property
    def parent(self) -> str:
        return str(self.chat) if self.thread else ""

    def __str__(self) -> str:
        """Write it as requests and deliveries keep it."""
        return f"{self.chat}/{self.thread}" if self.thread else str(self.chat)


def address(place: Place, message: int, parts: int = 0) -> str:
    """Write where an answer goes, its first message there so far (0: none), and how many follow."""
    stands = f"#{message}" if message else ""
    return f"{place}{stands}+{parts}" if stands and parts else f"{place}{stands}"


def read_address(text: str) -> tuple[Place, int, int]:
    """Read what address() wrote. Raises ValueError."""
    where, _, stands = text.partition("#")
    message, _, parts = stands.partition("+")
    chat, _, thread = where.partition("/")
    return Place(chat=int(chat), thread=int(thread or 0)), int(message or 0), int(parts or 0)

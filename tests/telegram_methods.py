"""The methods of the loopback Bot API server, each with the checks and the words of the real one."""

import asyncio
import time
from typing import Any

from telegram_chats import BOT, World
from telegram_parameters import ApiError, bad, body_of

ANSWER = 200  # characters of an answer to a callback query
NAME = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")
PHOTO = [{"file_id": "p1", "file_unique_id": "p1", "width": 1, "height": 1}]
Params = dict[str, Any]
Files = dict[str, bytes]


class Methods(World):
    """A method of the API is `_api_` and its name in lower case."""

    def __init__(self, *, limits: bool = True) -> None:
        super().__init__(limits=limits)
        self.commands: dict[tuple[str, str], list[dict[str, str]]] = {}
        self.answered: dict[str, dict[str, Any]] = {}
        self._news = asyncio.Event()
        self.polls = 0

    def news(self) -> None:
        self._news.set()

    def _api_getme(self, _params: Params, _files: Files) -> dict:
        return BOT

    async def _api_getupdates(self, params: Params, _files: Files) -> list:
        self.polls += 1
        mine = self.polls
        self._news.set()  # wakes an older poll, which is then ended
        self._news.clear()
        offset, limit = int(params.get("offset") or 0), int(params.get("limit") or 100)
        end = time.monotonic() + float(params.get("timeout") or 0)
        self.updates = [u for u in self.updates if _number(u) is None or _number(u) >= offset]
        while not self.updates:
            self._news.clear()
            try:
                async with asyncio.timeout(max(0.0, end - time.monotonic())):
                    await self._news.wait()
            except TimeoutError:
                return []
            if self.polls != mine:
                raise ApiError(409, "Conflict: terminated by other getUpdates request")
        given = self.updates[:limit]
        self.updates = [u for u in given if _number(u) is not None] + self.updates[limit:]
        return given

    def _api_deletewebhook(self, _params: Params, _files: Files) -> bool:
        return True

    def _api_setmycommands(self, params: Params, _files: Files) -> bool:
        given = params.get("commands", [])
        if len(given) > 100:
            raise bad("BOT_COMMANDS_TOO_MUCH")
        for command in given:
            name = command["command"]
            if not (0 < len(name) <= 32 and all(c in NAME for c in name)):
                raise bad("BOT_COMMAND_INVALID")
            if not 0 < len(command["description"]) <= 256:
                raise bad("BOT_COMMAND_DESCRIPTION_INVALID")
        scope = params.get("scope", {"type": "default"})["type"]
        self.commands[(scope, params.get("language_code", ""))] = given
        return True

    def _api_getchatmember(self, params: Params, _files: Files) -> dict:
        user, chat = int(params["user_id"]), self._chat(params)
        status = "administrator" if user in chat.admins else "member"
        return {"user": self.user(user), "status": status}

    def _api_sendmessage(self, params: Params, _files: Files) -> dict:
        return self._send(params, "text", body_of(params, "text"))

    def _api_sendphoto(self, params: Params, files: Files) -> dict:
        photo = files.get("photo", b"")
        if len(photo) > 10_000_000:
            raise bad("file is too big")
        if not photo.startswith((b"\x89PNG", b"\xff\xd8", b"RIFF")):
            raise bad("IMAGE_PROCESS_FAILED")
        return self._send(params, "photo", {"photo": PHOTO, **body_of(params, "caption")})

    def _api_senddocument(self, params: Params, files: Files) -> dict:
        document = files.get("document", b"")
        if len(document) > 50_000_000:
            raise ApiError(413, "Request Entity Too Large")
        file = {"file_id": "d1", "file_unique_id": "d1", "file_size": len(document)}
        return self._send(params, "document", {"document": file, **body_of(params, "caption")})

    def _api_editmessagetext(self, params: Params, _files: Files) -> dict:
        return self._edit(params, body_of(params, "text"))

    def _api_editmessagecaption(self, params: Params, _files: Files) -> dict:
        return self._edit(params, body_of(params, "caption"))

    def _api_editmessagemedia(self, params: Params, _files: Files) -> dict:
        media = params["media"]
        return self._edit(params, {"photo": PHOTO, **body_of(media, "caption")})

    def _api_deletemessage(self, params: Params, _files: Files) -> bool:
        chat = self._open(params)
        key = (chat.about["id"], int(params["message_id"]))
        if self.messages.pop(key, None) is None:
            raise bad("message to delete not found")
        return True

    def _api_answercallbackquery(self, params: Params, _files: Files) -> bool:
        name = params["callback_query_id"]
        if len(params.get("text", "")) > ANSWER:
            raise bad("MESSAGE_TOO_LONG")
        if name not in self.queries or name in self.answered:
            raise bad("query is too old and response timeout expired or query ID is invalid")
        self.answered[name] = {**params, "after": time.monotonic() - self.queries[name]}
        return True


def _number(update: Any) -> int | None:
    """The number that an update is confirmed by; one without is given once."""
    number = update.get("update_id") if isinstance(update, dict) else None
    return number if isinstance(number, int) else None

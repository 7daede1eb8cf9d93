"""The chats, people and messages behind the loopback Bot API server, and the limits of each chat."""

import time
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from telegram_parameters import ApiError, bad, markup_of

TOKEN = "123456789:AAHfiqksKZ8WmR2zSjiQ7_v4TMAKdiHm9T0"
BOT = {
    "id": 123456789,
    "is_bot": True,
    "first_name": "Pastiche",
    "username": "PasticheTestBot",
    "can_join_groups": True,
    "can_read_all_group_messages": False,
    "supports_inline_queries": False,
}
PRIVATE_WINDOW, GROUP_WINDOW = (4.0, 5), (60.0, 20)  # seconds, and messages within them


@dataclass
class Chat:
    """A chat as the server knows it; `topics` are thread ids of a forum."""

    about: dict[str, Any]
    closed: str = ""  # why the bot may not write here: "blocked", "kicked"
    rights: frozenset[str] = frozenset({"text", "photo", "document"})
    admins: set[int] = field(default_factory=set)
    topics: set[int] = field(default_factory=set)
    moved_to: int = 0
    sent: deque[float] = field(default_factory=deque)
    forbidden_until: float = 0.0

    @property
    def private(self) -> bool:
        return bool(self.about["type"] == "private")


class World:
    """Who is there and what was said. What a person does is a method."""

    def __init__(self, *, limits: bool = True) -> None:
        self.limits = limits
        self.chats: dict[int, Chat] = {}
        self.messages: dict[tuple[int, int], dict[str, Any]] = {}
        self.queries: dict[str, float] = {}
        self.disobeyed = Counter[str]()  # limits that the bot should have kept by itself
        self.updates: list[Any] = []
        self._update_id, self._message_id = 1000, 100

    def news(self) -> None:
        """Called when there is an update; the wire wakes a waiting poll."""

    def private(self, user: int = 7, name: str = "Ada", language: str = "en") -> int:
        """A private chat with a user, who has pressed Start."""
        about = {"id": user, "type": "private", "first_name": name}
        self.chats.setdefault(user, Chat({**about, "language_code": language}))
        return user

    def group(self, chat: int = -1001, *, forum: bool = False, admins: tuple[int, ...] = ()) -> int:
        """A supergroup that the bot is in."""
        about: dict[str, Any] = {"id": chat, "type": "supergroup", "title": "Readers"}
        made = Chat({**about, "is_forum": True} if forum else about, admins=set(admins))
        self.chats[chat] = made
        return chat

    def user(self, user: int, language: str = "en") -> dict[str, Any]:
        """A user as updates name them."""
        name = f"User {user}"
        return {"id": user, "is_bot": False, "first_name": name, "language_code": language}

    def push(self, **update: Any) -> dict[str, Any]:
        """Any update, with the next number."""
        self._update_id += 1
        self.push_raw({"update_id": self._update_id, **update})
        return self.updates[-1]

    def push_raw(self, update: Any) -> None:
        """Anything at all in the stream of updates."""
        self.updates.append(update)
        self.news()

    def say(
        self,
        text: str,
        chat: int = 7,
        user: int = 7,
        *,
        reply_to: dict[str, Any] | None = None,
        thread: int = 0,
        language: str = "en",
        **more: Any,
    ) -> dict[str, Any]:
        """A message of a person, perhaps in reply to one; the bot hears what privacy mode allows."""
        message = self._message(chat, self.user(user, language), text=text, **more)
        if thread:
            message |= {"message_thread_id": thread, "is_topic_message": True}
        elif reply_to and self.chats[chat].about.get("is_forum"):
            message["message_thread_id"] = reply_to[
                "message_id"
            ]  # a reply in General looks like this
        if reply_to:
            message["reply_to_message"] = reply_to
        if text.startswith("/"):
            head = text.split(maxsplit=1)[0]
            message["entities"] = [{"type": "bot_command", "offset": 0, "length": len(head)}]
        to_bot = bool(reply_to) and reply_to.get("from", {}).get("id") == BOT["id"]
        if self.chats[chat].private or to_bot or text.startswith("/") or more.get("overheard"):
            message.pop("overheard", None)
            self.push(message=message)
        return message

    def press(self, message: dict[str, Any], label: str, user: int = 7) -> str:
        """Press the button whose text contains `label`; the query's id."""
        shown = self.messages[(message["chat"]["id"], message["message_id"])]
        data = next(b["callback_data"] for b in buttons(shown) if label in b["text"])
        return self.query(shown, data, user)

    def query(self, message: dict[str, Any], data: str, user: int = 7) -> str:
        """A callback query with any data, as a client may send."""
        name = f"q{len(self.queries) + 1}"
        self.queries[name] = time.monotonic()
        self.push(
            callback_query={
                "id": name,
                "from": self.user(user),
                "message": message,
                "chat_instance": "1",
                "data": data,
            }
        )
        return name

    def shut(self, chat: int, why: str = "blocked") -> None:
        """A user blocks the bot, or a group kicks it; an update tells so."""
        self.chats[chat].closed = why
        member = {"user": BOT, "status": "kicked", "until_date": 0}
        self.push(
            my_chat_member={
                "chat": self.chats[chat].about,
                "from": self.user(8),
                "date": int(time.time()),
                "old_chat_member": {"user": BOT, "status": "member"},
                "new_chat_member": member,
            }
        )

    def _chat(self, params: dict) -> Chat:
        try:
            return self.chats[int(params.get("chat_id", 0))]
        except (KeyError, ValueError):
            raise bad("chat not found") from None

    def _open(self, params: dict, right: str = "") -> Chat:
        chat = self._chat(params)
        if chat.moved_to:
            raise ApiError(
                400,
                "Bad Request: group chat was upgraded to a supergroup chat",
                migrate_to_chat_id=chat.moved_to,
            )
        if chat.closed == "blocked":
            raise ApiError(403, "Forbidden: bot was blocked by the user")
        if chat.closed:
            raise ApiError(403, "Forbidden: bot was kicked from the supergroup chat")
        if right and right not in chat.rights:
            what = {"text": "text messages", "photo": "photos", "document": "documents"}[right]
            raise bad(f"not enough rights to send {what} to the chat")
        return chat

    def _thread(self, chat: Chat, params: dict) -> None:
        thread = int(params.get("message_thread_id") or 0)
        if thread and thread not in chat.topics:
            raise bad("message thread not found")

    def _paced(self, chat: Chat) -> None:
        if not self.limits:
            return
        now = time.monotonic()
        if now < chat.forbidden_until - 0.05:
            self.disobeyed["retry_after"] += 1
            raise _flood(chat.forbidden_until - now)
        times = chat.sent
        window, most = PRIVATE_WINDOW if chat.private else GROUP_WINDOW
        while times and times[0] < now - window:
            times.popleft()
        if len(times) >= most:
            self.disobeyed["pace"] += 1
            chat.forbidden_until = times[0] + window
            raise _flood(chat.forbidden_until - now)
        times.append(now)

    def _send(self, params: dict, kind: str, body: dict) -> dict:
        chat = self._open(params, kind)
        self._thread(chat, params)
        markup = markup_of(params)
        reply = self._reply(chat, params)
        self._paced(chat)
        message = self._message(chat.about["id"], BOT, **body, **markup, **reply)
        if params.get("message_thread_id"):
            thread = int(params["message_thread_id"])
            message |= {"message_thread_id": thread, "is_topic_message": True}
        return message

    def _reply(self, chat: Chat, params: dict) -> dict:
        wanted = params.get("reply_parameters")
        if not wanted:
            return {}
        found = self.messages.get((chat.about["id"], int(wanted["message_id"])))
        if found is None and not wanted.get("allow_sending_without_reply"):
            raise bad("message to be replied not found")
        return {} if found is None else {"reply_to_message": found}

    def _edit(self, params: dict, body: dict) -> dict:
        chat = self._open(params)
        key = (chat.about["id"], int(params.get("message_id") or 0))
        message = self.messages.get(key)
        if message is None:
            raise bad("message to edit not found")
        if message["from"]["id"] != BOT["id"]:
            raise bad("message can't be edited")
        if "text" in body and "text" not in message:
            raise bad("there is no text in the message to edit")
        markup = markup_of(params)
        self._paced(chat)
        before = {k: message.get(k) for k in (*body, "reply_markup")}
        after = {"reply_markup": None, **body, **markup}
        if "photo" not in body and before == after:
            self.disobeyed["identical edit"] += 1
            raise bad(
                "message is not modified: specified new message content and reply markup are "
                "exactly the same as a current content and reply markup of the message"
            )
        message.pop("reply_markup", None)
        message |= {**body, **markup, "edit_date": int(time.time())}
        return message

    def _message(self, chat: int, sender: dict, **body: Any) -> dict[str, Any]:
        self._message_id += 1
        message = {"message_id": self._message_id, "from": sender, "date": int(time.time())}
        message |= {"chat": self.chats[chat].about, **body}
        self.messages[(chat, self._message_id)] = message
        return message


def buttons(message: dict[str, Any]) -> list[dict[str, str]]:
    """The inline buttons of a message, in one list."""
    rows = message.get("reply_markup", {}).get("inline_keyboard", [])
    return [button for row in rows for button in row]


def _flood(seconds: float) -> ApiError:
    wait = int(seconds) + 1
    return ApiError(429, f"Too Many Requests: retry after {wait}", retry_after=wait)

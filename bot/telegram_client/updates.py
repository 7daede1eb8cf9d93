"""An update as it comes from outside, read once and checked: what somebody said, pressed, or shut.

Telegram's own field names end here. What is not meant for the bot is None; what cannot be read raises
ValueError. In a group the bot answers when it is addressed: by its commands, by a reply to it, by its
name. Commands that name another bot, or that it does not know, are another bot's.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AliasPath, BaseModel, ConfigDict, Field

from bot.messages.buttons import Press, decode
from bot.telegram_client.api import Place
from engine.errors import CommandError

Number = Annotated[int, Field(ge=-(2**63), lt=2**63)]
# what a person may send in the place of words; all else without words is Telegram's own notice
MEDIA = (
    "animation", "audio", "checklist", "contact", "dice", "document", "game", "location",
    "paid_media", "photo", "poll", "sticker", "story", "venue", "video", "video_note", "voice",
)  # fmt: skip
BORROWED = ("forward_origin", "forward_date")  # marks of a forward, by this API and older ones
_COMMAND = re.compile(r"/(?P<name>\w{1,32})(?:@(?P<to>\w{1,64}))?(?![\w@])")


class _Model(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, populate_by_name=True)


class User(_Model):
    id: Number
    is_bot: bool = False
    username: str = ""
    language_code: str = ""


class _Chat(_Model):
    id: Number
    type: Literal["private", "group", "supergroup", "channel"]
    title: str = ""


class _Button(_Model):
    callback_data: str = ""


class _Keyboard(_Model):
    inline_keyboard: list[list[_Button]] = []


class _Message(_Model):
    message_id: Number
    chat: _Chat
    sender: User | None = Field(default=None, alias="from")
    sender_chat: _Chat | None = None
    message_thread_id: Number | None = None
    is_topic_message: bool = False
    text: str | None = None
    caption: str | None = None
    reply_to_message: "_Message | None" = None
    reply_markup: _Keyboard | None = None
    is_automatic_forward: bool = False  # the linked channel's post
    via_bot: User | None = None
    media_group_id: str = Field(default="", max_length=24)
    migrate_to_chat_id: Number | None = None
    migrate_from_chat_id: Number | None = None
    media: bool = False
    borrowed: bool = False

    @property
    def unnamed(self) -> bool:
        return self.sender_chat is not None and self.sender_chat.id == self.chat.id

    @property
    def spoken(self) -> bool:
        """Say whether a person stands behind it: no other bot, no channel, nothing sent by itself."""
        if self.sender is None or self.is_automatic_forward or self.via_bot is not None:
            return False
        return self.unnamed if self.sender_chat is not None else not self.sender.is_bot

    @property
    def place(self) -> Place:
        # In a forum's General, a thread id only says which message was replied to.
        thread = self.message_thread_id if self.is_topic_message else 0
        return Place(chat=self.chat.id, thread=thread or 0)


class _Query(_Model):
    id: str = Field(min_length=1, max_length=64)
    sender: User = Field(alias="from")
    message: _Message | None = None
    data: str | None = None


class _Membership(_Model):
    chat: _Chat
    status: str = Field(validation_alias=AliasPath("new_chat_member", "status"))


class _Update(_Model):
    update_id: Number
    message: _Message | None = None
    callback_query: _Query | None = None
    my_chat_member: _Membership | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextUpdate:
    """Hold words for the bot. `text` is empty for what it cannot read, a voice message for example.

    An administrator who writes as the group is `unnamed`: the asker is the group. `borrowed` words
    are a third person's. The messages of an `album` share its name.
    """

    place: Place
    message: int
    asker: int
    text: str
    locale: str = ""
    replied: int = 0  # the message of ours that it replies to
    reply_to: str | None = None  # and the job whose buttons stand there
    unnamed: bool = False
    borrowed: bool = False
    album: str = ""
    overheard: bool = False  # not addressed: answered only where talking on is switched on

    @property
    def command(self) -> str:
        found = _COMMAND.match(self.text)
        return found["name"].lower() if found else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ButtonUpdate:
    """Hold a press of a button; `press` is None for one that is none of ours."""

    query: str
    place: Place
    message: int
    asker: int
    press: Press | None
    locale: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ChatUpdate:
    place: Place

    @property
    def asker(self) -> int:
        return self.place.chat  # nobody asks


@dataclass(frozen=True, slots=True, kw_only=True)
class MembershipUpdate(_ChatUpdate):
    """Say that the bot was blocked or sent away; `back` when it was let in again."""

    back: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationUpdate(_ChatUpdate):
    """Say that a group became a supergroup with another number. Both chats are told so."""

    now: Place


Asked = TextUpdate | ButtonUpdate
Incoming = Asked | MembershipUpdate | MigrationUpdate


def number_of(update: Any) -> int | None:
    """Find the number that confirms an update, readable or not."""
    number = update.get("update_id") if isinstance(update, dict) else None
    return number if type(number) is int and 0 <= number < 2**63 else None


def read(update: Any, me: User, commands: frozenset[str]) -> Incoming | None:
    """Read what an update means for the bot `me`, which knows these commands. Raises ValueError."""
    seen = _Update.model_validate(_marked(update))
    if seen.callback_query is not None:
        return _pressed(seen.callback_query)
    if seen.my_chat_member is not None:
        shut = seen.my_chat_member
        gone = shut.status in ("kicked", "left")
        return MembershipUpdate(place=Place(chat=shut.chat.id), back=not gone)
    if seen.message is None:
        return None
    return _grown(seen.message) or _heard(seen.message, me, commands)


def _marked(update: Any) -> Any:
    """Mark with `media` whatever came instead of words, and with `borrowed` a forward."""
    message = update.get("message") if isinstance(update, dict) else None
    if not isinstance(message, dict):
        return update
    marks = {
        "media": any(kind in message for kind in MEDIA),
        "borrowed": any(mark in message for mark in BORROWED),
    }
    return {**update, "message": {**message, **marks}}


def _grown(message: _Message) -> MigrationUpdate | None:
    here = message.place
    if message.migrate_to_chat_id is not None:
        return MigrationUpdate(place=here, now=Place(chat=message.migrate_to_chat_id))
    if message.migrate_from_chat_id is not None:
        return MigrationUpdate(place=Place(chat=message.migrate_from_chat_id), now=here)
    return None


def _pressed(query: _Query) -> ButtonUpdate | None:
    if query.message is None:
        return None
    return ButtonUpdate(
        query=query.id,
        place=query.message.place,
        message=query.message.message_id,
        asker=query.sender.id,
        press=_press(query.data or ""),
        locale=query.sender.language_code,
    )


def _press(data: str) -> Press | None:
    try:
        return decode(data)
    except CommandError:
        return None


def _heard(message: _Message, me: User, commands: frozenset[str]) -> TextUpdate | None:
    if message.sender is None or not message.spoken:
        return None
    replied = message.reply_to_message
    to_me = replied is not None and replied.sender is not None and replied.sender.id == me.id
    whole = message.text or message.caption or ""
    if not whole and not (message.media and message.place.private):
        return None
    text = whole if message.place.private else addressed(whole, me.username, commands, to_me=to_me)
    if text is None and whole.startswith("/"):
        return None  # the others' command, also where all else is overheard
    return TextUpdate(
        place=message.place,
        message=message.message_id,
        asker=message.chat.id if message.unnamed else message.sender.id,
        text=whole if text is None else text,
        locale=message.sender.language_code,
        replied=replied.message_id if to_me and replied else 0,
        reply_to=_job(replied) if to_me and replied else None,
        unnamed=message.unnamed,
        borrowed=message.borrowed,
        album=message.media_group_id,
        overheard=text is None,
    )


def addressed(text: str, name: str, commands: frozenset[str], *, to_me: bool) -> str | None:
    """Find what a group's message says to the bot of that name, or None.

    >>> addressed("@AnyBot a tale, please", "AnyBot", frozenset(), to_me=False)
    'a tale, please'
    >>> addressed("/story@OtherBot Hm.", "AnyBot", frozenset({"story"}), to_me=True)
    """
    command = _COMMAND.match(text)
    if command is not None:
        if command["to"]:
            return text if command["to"].lower() == name.lower() else None
        return text if to_me or command["name"].lower() in commands else None
    mention = re.compile(rf"@{re.escape(name)}\b", re.IGNORECASE)
    if name and mention.search(text):
        return mention.sub("", text, count=1).strip()
    return text if to_me else None


def _job(message: _Message) -> str | None:
    for row in message.reply_markup.inline_keyboard if message.reply_markup else ():
        for button in row:
            if (press := _press(button.callback_data)) is not None:
                return press.job
    return None

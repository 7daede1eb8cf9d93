"""The people, chats and answers of test_rights.py, on a loopback Discord and Telegram."""

from dataclasses import dataclass
from itertools import count, cycle

from discord_people import People
from discord_world import ADMIN, ALICE, KEEPER, OWNER, ROBOT
from telegram_chats import buttons
from telegram_server import TelegramServer

from bot.locales import words
from bot.messages.buttons import Press, Verb, decode, encode

OPERATORS, OUTCASTS = range(70_000, 70_150), range(80_000, 80_060)  # one a cell
FEW = OUTCASTS[:10]  # of them on Discord, where commands are answered each time
ON_DISCORD = {"asker": ALICE, "keeper": KEEPER, "manager": OWNER, "admin": ADMIN, "bot": ROBOT}
REFUSALS = [
    words(key)
    for key in ("talk.not_manager", "talk.not_operator", "talk.not_yours", "talk.blocked",
                "talk.forget_other", "study.not_manager", "study.not_yours", "telegram.unnamed")
]  # fmt: skip


def outcome(said: str) -> str:
    """Whether these words refuse for want of a right."""
    return "-" if any(why in said for why in REFUSALS) else "+"


@dataclass
class World:
    """Both platforms, one program, and people who were nowhere before."""

    people: People
    telegram: TelegramServer

    def __post_init__(self) -> None:
        self._numbers = count(1000)
        self._of = {"operator": iter(OPERATORS), "blocked": iter(OUTCASTS)}
        self._few = cycle(FEW)

    def somebody(self, who: str = "") -> int:
        """One of them."""
        return next(self._of.get(who, self._numbers))

    def on_discord(self, who: str) -> str:
        """The same, or somebody who has rights there."""
        if who == "blocked":
            return str(next(self._few))
        return ON_DISCORD.get(who) or str(self.somebody(who))


def as_of(who: str, group: int) -> dict[str, object]:
    """What a message has that is no plain member's."""
    channel = {"id": -1009, "type": "channel", "title": "News"}
    here = {"id": group, "type": "supergroup", "title": "Readers"}
    moderator = {"id": 1087968824, "is_bot": True, "first_name": "Group"}
    robot = {"id": 5, "is_bot": True, "first_name": "Robot"}
    return {
        "unnamed": {"from": moderator, "sender_chat": here},
        "channel": {"from": robot, "sender_chat": channel},
        "linked": {"from": {"id": 777000, "is_bot": False, "first_name": "Telegram"},
                   "sender_chat": channel, "is_automatic_forward": True},
        "bot": {"from": robot},
        "via": {"via_bot": robot},
    }.get(who, {})  # fmt: skip


class Telegram:
    """A group, or a private chat, for each cell."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.server = world.telegram

    def group(self, forum: bool = False, *, admin: int = 0) -> int:
        """A group of its own."""
        made = self.server.group(-self.world.somebody() - 10**6, forum=forum, admins=(admin,))
        self.server.chats[made].topics.add(4)
        return made

    async def said(self, chat: int) -> str:
        """The first words of ours in the chat."""
        shown = await self.server.until(lambda: self.server.shown(chat))
        return str(shown[0].get("text", shown[0].get("caption", "")))

    async def asked(self, chat: int, by: int, **more: object) -> dict[str, object]:
        """A whole answer there, with its buttons."""
        self.server.say("/story It rained.", chat, by, **more)

        def whole() -> list[dict[str, object]]:
            there = self.server.shown(chat)
            return [m for m in there if "Why?" in [b["text"] for b in buttons(m)]]

        return (await self.server.until(whole))[0]

    async def forget(self, chat: int, by: int, **more: object) -> dict[str, object]:
        """The question of /forget, wherever it is asked."""
        self.server.say("/forget", chat, by, **more)
        place = chat if more else self.server.private(by)
        return (
            await self.server.until(lambda: [m for m in self.server.shown(place) if buttons(m)])
        )[0]

    async def press(self, message: dict[str, object], verb: Verb, by: int) -> str:
        """What comes of it: the words above the chat, or the message is gone."""
        data = [b["callback_data"] for b in buttons(message)]
        mine = next((d for d in data if decode(d).verb is verb), None)
        mine = mine or encode(Press(verb, decode(data[0]).job))
        query = self.server.query(message, mine, by)
        told = await self.server.until(lambda: self.server.answered.get(query))
        return outcome(str(told.get("text", "")))

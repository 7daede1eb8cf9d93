"""Who speaks, where, and by which right, as Telegram tells it."""

from dataclasses import dataclass, replace

from bot.messages.buttons import ANYBODY, Press, Verb
from bot.messages.grammar import Command, Compare, Simple
from bot.service.request import Who
from bot.service.service import ChatService
from bot.study.consent import mark_of
from bot.telegram_client.address import Place
from bot.telegram_client.messages import Sender
from bot.telegram_client.updates import TextUpdate

PLATFORM = "telegram"
NEED_RIGHTS = ("/settings", "/admin", "/study")  # commands that ask who may manage the chat
PERSONAL = ("consent", "withdraw", "mydata", "link", "guess")  # no group can mean these


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """Whom to answer, and where."""

    place: Place
    asker: int
    message: int
    locale: str


class People:
    """Asks Telegram and the ledger for what an update does not say."""

    def __init__(self, talk: ChatService, sender: Sender) -> None:
        self._talk = talk
        self._sender = sender

    async def writer(self, heard: TextUpdate, here: Here) -> Who:
        """The one who wrote; an administrator who writes as the group is the group."""
        reply_to = heard.reply_to
        if reply_to is None and heard.replied:
            reply_to = await self._talk.job_of(PLATFORM, f"{heard.place.chat}:{heard.replied}")
        rights = heard.unnamed or (heard.text.startswith(NEED_RIGHTS) and await self._manages(here))
        who = _who(here, manager=rights)
        return replace(who, typed=heard.text, reply_to=reply_to, borrowed=heard.borrowed)

    async def presser(self, press: Press, here: Here) -> Who:
        """The one who pressed; below what the group itself asked, its administrators act for it."""
        who = _who(here, manager=False)
        group = replace(who, asker=str(here.place.chat))
        for_group = press.verb not in ANYBODY and await self._asked_by(press, group)
        if (for_group or press.verb is Verb.DELETE) and await self._manages(here):
            who = replace(group if for_group else who, manager=True, server_manager=True)
        return replace(who, reply_to=press.job)

    async def _asked_by(self, press: Press, group: Who) -> bool:
        if group.private:
            return False
        if press.verb in (Verb.FORGET, Verb.KEEP):
            return press.argument == mark_of(self._talk, group)
        answer = await self._talk.core.answer(press.job)
        return answer is not None and answer.request.asker == group.asker

    async def _manages(self, here: Here) -> bool:
        """Asking Telegram takes a while: only where it matters."""
        return await self._sender.manages(here.place, here.asker)


def _who(here: Here, *, manager: bool) -> Who:
    return Who(
        platform=PLATFORM,
        asker=str(here.asker),
        place=str(here.place),
        parent=here.place.parent,
        private=here.place.private,
        manager=manager,
        server_manager=manager,
        locale=here.locale,
        address=str(here.place),
    )


def personal(command: Command) -> bool:
    """Whether it is about one person, or judged by one."""
    return isinstance(command, Compare) or (
        isinstance(command, Simple) and command.name in PERSONAL
    )

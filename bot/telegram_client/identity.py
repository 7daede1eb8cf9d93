"""The identity of who speaks, where, and by which right, as Telegram tells it."""

from dataclasses import replace

from bot.messages.buttons import ANYBODY, Press, Verb
from bot.messages.grammar import Command, Compare, Simple
from bot.service.context import mark_of
from bot.service.request import Who
from bot.service.service import ChatService
from bot.telegram_client.api import Place
from bot.telegram_client.messages import Sender
from bot.telegram_client.updates import ButtonUpdate, TextUpdate

PLATFORM = "telegram"
NEED_RIGHTS = ("settings", "admin", "study")  # commands that ask who may manage the chat
PERSONAL = ("consent", "withdraw", "mydata", "link", "guess", "rate")  # no group can mean these


async def writer(service: ChatService, sender: Sender, heard: TextUpdate) -> Who:
    reply_to = heard.reply_to
    if reply_to is None and heard.replied:
        reply_to = await service.context.services.outbox.job_of(
            PLATFORM, f"{heard.place.chat}:{heard.replied}"
        )
    # Asking Telegram takes a while: only where it matters.
    manager = heard.unnamed or (
        heard.command in NEED_RIGHTS and await sender.manages(heard.place, heard.asker)
    )
    who = replace(
        who_at(heard.place, heard.asker, heard.locale), manager=manager, server_manager=manager
    )
    return replace(who, typed=heard.text, reply_to=reply_to, borrowed=heard.borrowed)


async def presser(service: ChatService, sender: Sender, press: Press, pressed: ButtonUpdate) -> Who:
    """Name the one who pressed; below what the group itself asked, its administrators act for it."""
    who = who_at(pressed.place, pressed.asker, pressed.locale)
    group = replace(who, asker=str(pressed.place.chat))
    for_group = press.verb not in ANYBODY and await _asked_by(service, press, group)
    if (for_group or press.verb is Verb.DELETE) and await sender.manages(
        pressed.place, pressed.asker
    ):
        who = replace(group if for_group else who, manager=True, server_manager=True)
    return replace(who, reply_to=press.job)


async def _asked_by(service: ChatService, press: Press, group: Who) -> bool:
    if group.alone:
        return False
    if press.verb in (Verb.FORGET, Verb.KEEP):
        return press.argument == mark_of(service.context, group)
    answer = await service.context.engine.answer(press.job)
    return answer is not None and answer.request.asker == group.asker


def who_at(place: Place, asker: object, locale: str = "en") -> Who:
    return Who(
        platform=PLATFORM,
        asker=str(asker),
        place=str(place),
        parent=place.parent,
        alone=place.private,
        locale=locale,
        address=str(place),
    )


def personal(command: Command) -> bool:
    return isinstance(command, Compare) or (
        isinstance(command, Simple) and command.name in PERSONAL
    )

"""The menu of commands beside the input field, for each kind of chat and each language."""

import telegram
from telegram import BotCommand, BotCommandScope
from telegram.error import TelegramError

from bot.locales import DEFAULT, languages, words
from bot.telegram_client.api import Api
from engine.plan.cards import Registry

EVERYWHERE = (
    "continue", "again", "why", "styles", "queue", "cancel", "report", "help", "privacy", "compare",
    "guess",
)  # fmt: skip
PRIVATE = ("start", "forget", "settings", "mydata")
MANAGERS = ("settings",)
STUDY = ("consent", "withdraw", "link")  # while there is one
STUDY_MANAGERS = ("study",)
LONGEST = 256


def commands(registry: Registry, locale: str, *more: str) -> list[BotCommand]:
    """Describe the cards' commands, those everywhere, and some more in a language."""
    made = []
    for name in (*registry.commands, *EVERYWHERE, *more):
        try:
            about = words(f"commands.{name}", locale)
        except KeyError:  # a command that only a card knows
            titles = ", ".join(e.title for e in registry.of_command(name))
            about = words("telegram.of_a_card", locale, names=titles)
        made.append(BotCommand(name, about[:LONGEST]))
    return made


async def sync(api: Api, registry: Registry, *, study: bool = False) -> int:
    """Send the menus that Telegram does not have yet; count them. `study`: there is one."""
    private, managers = (STUDY, STUDY_MANAGERS) if study else ((), ())
    scopes: tuple[tuple[BotCommandScope, tuple[str, ...]], ...] = (
        (telegram.BotCommandScopeDefault(), ()),
        (telegram.BotCommandScopeAllPrivateChats(), (*PRIVATE, *private)),
        (telegram.BotCommandScopeAllGroupChats(), ()),
        (telegram.BotCommandScopeAllChatAdministrators(), (*MANAGERS, *managers)),
    )
    changed = 0
    for locale in languages():
        code = None if locale == DEFAULT else locale
        for scope, more in scopes:
            wanted = commands(registry, locale, *more)
            if await _there(api, scope, code) != wanted:
                await api.set_my_commands(wanted, scope, code)
                changed += 1
    return changed


async def _there(api: Api, scope: BotCommandScope, code: str | None) -> list[BotCommand]:
    try:
        return list(await api.get_my_commands(scope, code))
    except (TelegramError, TypeError):
        return []

"""Names of commands in every language, for discord.py to send."""

from typing import Any

from discord import Locale, app_commands

from bot.discord_client.errors import insist
from bot.locales import DEFAULT, language_of, words

KEY = "key"  # of a locale_str's extras


async def sync(tree: app_commands.CommandTree[Any]) -> None:
    """Send the commands in every language; Discord leaves as they are those that it has."""
    await tree.set_translator(Words())
    await insist(tree.sync, patience=60)


def named(name: str, key: str) -> app_commands.locale_str:
    return app_commands.locale_str(name, **{KEY: key})


def described(key: str, **values: str) -> app_commands.locale_str:
    """Mark an English description as translated under the same key."""
    return app_commands.locale_str(words(key, DEFAULT, **values), **{KEY: key}, **values)


class Words(app_commands.Translator):
    """Look words up in bot.locales for discord.py; leave a language out that lacks them."""

    async def translate(
        self,
        string: app_commands.locale_str,
        locale: Locale,
        context: app_commands.TranslationContextTypes,  # noqa: ARG002 - discord.py's own signature
    ) -> str | None:
        language = language_of(locale.value)
        key = string.extras.get(KEY)
        if language == DEFAULT or key is None:
            return None
        values = {name: value for name, value in string.extras.items() if name != KEY}
        try:
            found = words(key, language, **values)
        except KeyError:
            return None
        return None if found == string.message else found

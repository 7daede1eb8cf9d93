"""Names and descriptions of commands in every language that bot.locales has."""

from discord import Locale, app_commands

from bot.locales import DEFAULT, language_of, words

KEY = "key"  # of a locale_str's extras


def named(name: str, key: str) -> app_commands.locale_str:
    """A command's or option's own name, translated under the key."""
    return app_commands.locale_str(name, **{KEY: key})


def described(key: str, **values: str) -> app_commands.locale_str:
    """A description in English, translated under the same key."""
    return app_commands.locale_str(words(key, DEFAULT, **values), **{KEY: key}, **values)


class Words(app_commands.Translator):
    """discord.py's seam to bot.locales; a language that lacks the words is left out."""

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

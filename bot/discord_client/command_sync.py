"""Names of commands in every language; commands are sent only when they differ from Discord's copy."""

import logging
from typing import Any

import discord
from discord import Locale, app_commands
from discord.http import Route

from bot.discord_client.errors import insist
from bot.locales import DEFAULT, language_of, words

KEY = "key"  # of a locale_str's extras

_SAID = (
    "name", "name_localizations", "description", "description_localizations", "required",
    "autocomplete", "min_value", "max_value", "min_length", "max_length", "nsfw", "value",
    "default_member_permissions",
)  # fmt: skip
_PARTS = ("options", "choices")
_SETS = ("contexts", "integration_types")

log = logging.getLogger(__name__)


async def sync(tree: app_commands.CommandTree[Any]) -> str:
    """Bring Discord's copy up to date, in every language; say for the log what was done."""
    client = tree.client
    await tree.set_translator(Words())
    payload = await payload_of(tree)
    route = Route("GET", "/applications/{app}/commands", app=client.application_id)
    there = await insist(
        lambda: client.http.request(route, params={"with_localizations": "true"}), patience=60
    )
    if reduced(there) == reduced(payload):
        return f"{len(payload)} commands, as Discord has them"
    await insist(lambda: tree.sync(), patience=60)
    return f"{len(payload)} commands synced"


async def payload_of(tree: app_commands.CommandTree[Any]) -> list[dict[str, Any]]:
    commands: list[Any] = [
        *tree.get_commands(type=discord.AppCommandType.chat_input),
        *tree.get_commands(type=discord.AppCommandType.message),
    ]
    return [await command.get_translated_payload(tree, Words()) for command in commands]


def reduced(commands: list[dict[str, Any]]) -> list[Any]:
    """Keep what matters of commands, in an order of its own.

    >>> reduced([{"name": "a", "id": "1"}]) == reduced([{"name": "a", "type": 1, "options": []}])
    True
    """
    return sorted((_reduced(c) for c in commands), key=lambda c: (c["type"], c["name"]))


def _reduced(part: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {key: part.get(key) for key in _SAID} | {"type": part.get("type", 1)}
    kept |= {key: [_reduced(p) for p in part.get(key) or ()] for key in _PARTS}
    kept |= {key: sorted(part.get(key) or ()) for key in _SETS}
    return {key: value for key, value in kept.items() if value}


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

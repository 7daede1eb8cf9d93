"""Commands are sent to Discord only when they differ from what it has."""

import logging
from typing import Any

import discord
from discord import app_commands
from discord.http import Route

from bot.discord_client.errors import insist

_SAID = (
    "name", "name_localizations", "description", "description_localizations", "required",
    "autocomplete", "min_value", "max_value", "min_length", "max_length", "nsfw", "value",
    "default_member_permissions",
)  # fmt: skip
_PARTS = ("options", "choices")
_SETS = ("contexts", "integration_types")

log = logging.getLogger(__name__)


async def sync(tree: app_commands.CommandTree[Any]) -> str:
    """Bring Discord's copy up to date; says what was done, for the log."""
    client = tree.client
    application = client.application_id
    payload = await payload_of(tree)
    route = Route("GET", "/applications/{app}/commands", app=application)
    there = await insist(
        lambda: client.http.request(route, params={"with_localizations": "true"}), patience=60
    )
    if reduced(there) == reduced(payload):
        return f"{len(payload)} commands, as Discord has them"
    await insist(lambda: tree.sync(), patience=60)
    return f"{len(payload)} commands synced"


async def payload_of(tree: app_commands.CommandTree[Any]) -> list[dict[str, Any]]:
    """The commands as `sync` sends them."""
    commands: list[Any] = [
        *tree.get_commands(type=discord.AppCommandType.chat_input),
        *tree.get_commands(type=discord.AppCommandType.message),
    ]
    translator = tree.translator
    if translator is None:
        return [command.to_dict(tree) for command in commands]
    return [await command.get_translated_payload(tree, translator) for command in commands]


def reduced(commands: list[dict[str, Any]]) -> list[Any]:
    """What matters of commands, in an order of its own.

    >>> reduced([{"name": "a", "id": "1"}]) == reduced([{"name": "a", "type": 1, "options": []}])
    True
    """
    return sorted((_reduced(c) for c in commands), key=lambda c: (c["type"], c["name"]))


def _reduced(part: dict[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {key: part.get(key) for key in _SAID} | {"type": part.get("type", 1)}
    kept |= {key: [_reduced(p) for p in part.get(key) or ()] for key in _PARTS}
    kept |= {key: sorted(part.get(key) or ()) for key in _SETS}
    return {key: value for key, value in kept.items() if value}

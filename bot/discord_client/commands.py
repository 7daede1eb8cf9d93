"""The slash commands, made from the cards and the grammar."""

import logging
from collections.abc import Awaitable, Callable
from inspect import Parameter, Signature
from typing import Any

import discord
from discord import Locale, app_commands
from discord.app_commands import Choice, Command, Range

from bot.discord_client.errors import PASSING, insist
from bot.locales import DEFAULT, language_of, words
from bot.messages.options import typed
from engine.plan.cards import Registry
from engine.plan.plan import MAX_SEED, MIN_LENGTH

MAX_TYPED = 6000  # characters; Discord's own limit for an option
MAX_CHOICES = 25
MAX_CHOICE = 100  # characters of a choice
# /admin is not offered: operators write it as text, to the bot alone.
PLAIN = (
    "styles", "stories", "note", "why", "cancel", "queue", "help", "privacy", "forget", "report",
    "settings", "mydata", "guess",
)  # fmt: skip
STUDY = ("consent", "withdraw", "link", "study", "rate")  # offered while there is one
SHOWN_TO_ALL = ("study",)
# what may follow a command
TOPICS = {
    "help": "topic", "report": "reason", "settings": "change", "note": "fact", "link": "code",
    "study": "part", "rate": "invitation",
}  # fmt: skip
# options by the key of their description; those that are not _NAMED are a command's `text`
_TYPED = Range[str, 1, MAX_TYPED]
_TEXT, _MORE = {"text": _TYPED}, {"more": _TYPED | None}
_STYLE = {"style": Range[str, 1, 64] | None}
_SEED = {"seed": Range[int, 0, MAX_SEED] | None}
_PRIVATE = {"private": bool}
_PICTURE = {
    "picture": _TYPED,
    **_STYLE,
    "size": Range[str, 1, 11] | None,
    "count": Range[int, 1, 4] | None,
    "negative": Range[str, 1, 300] | None,
    "scale": Range[float, 0.0, 2.0] | None,
    **_SEED,
    **_PRIVATE,
}
_NAMED = ("style", "length", "seed", "private", "size", "count", "negative", "scale")
_DEFAULTS: dict[str, Any] = {
    "text": Parameter.empty, "picture": Parameter.empty, "private": False,
}  # fmt: skip
_KIND = Parameter.POSITIONAL_OR_KEYWORD
# Takes what would have been typed, and whether only the asker sees the reply.
CommandHandler = Callable[[discord.Interaction[Any], str, bool], Awaitable[None]]
log = logging.getLogger(__name__)


class Tree(app_commands.CommandTree[Any]):
    """Commands whose faults are told to the asker, and whose malformed calls harm nobody."""

    async def _call(self, interaction: discord.Interaction[Any]) -> None:
        try:
            await super()._call(interaction)
        except app_commands.AppCommandError:
            raise
        except Exception as error:  # noqa: BLE001 - anything may come over the wire
            log.warning("a command was malformed", extra={"why": type(error).__name__})

    async def on_error(
        self, interaction: discord.Interaction[Any], error: app_commands.AppCommandError, /
    ) -> None:
        """discord.py's hook: a command that Discord still has but we changed, or a fault of ours."""
        changed = isinstance(
            error,
            app_commands.CommandNotFound
            | app_commands.CommandSignatureMismatch
            | app_commands.TransformerError,
        )
        if changed:
            log.warning("a command is not the one we know", extra={"why": type(error).__name__})
        else:
            log.error("a command failed", exc_info=error)
        if interaction.response.is_done():
            return
        key = "discord.changed" if changed else "discord.lost"
        try:
            text = words(key, interaction.locale.value)
            await interaction.response.send_message(
                text, ephemeral=True, allowed_mentions=discord.AllowedMentions.none()
            )
        except (discord.HTTPException, *PASSING) as failure:
            log.info("a fault could not be told", extra={"why": type(failure).__name__})


def build(
    client: discord.Client,
    registry: Registry,
    longest: int,
    heard: CommandHandler,
    more: tuple[str, ...] = (),
) -> app_commands.CommandTree[Any]:
    """Make every command; `longest` is the most tokens of an answer, `more` are further plain ones."""
    tree = Tree(
        client,
        allowed_contexts=app_commands.AppCommandContext(
            guild=True, dm_channel=True, private_channel=True
        ),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=True),
    )
    length = {"length": Range[int, MIN_LENGTH, longest] | None}
    text = _TEXT | _STYLE | length | _SEED | _PRIVATE
    for name in registry.commands:
        experts = registry.of_command(name)
        picture = experts[0].medium == "image"
        about = f"discord.about_{'picture' if picture else 'text'}"
        titles = ", ".join(expert.title for expert in experts)
        titles = titles if len(titles) <= 50 else titles[:49] + "…"
        command = _made(
            name, _PICTURE if picture else text, heard, about=described(about, names=titles)
        )
        tree.add_command(_styled(command, registry, name))
    anew = _STYLE | length | _SEED
    for name, options in (("again", anew), ("continue", _MORE | anew), ("compare", text)):
        tree.add_command(_styled(_made(name, options, heard), registry))
    for name in (*PLAIN, *more):
        options = {TOPICS[name]: Range[str, 1, 300] | None} if name in TOPICS else {}
        tree.add_command(_made(name, options, heard, plain=True))
    return tree


def _made(
    name: str,
    options: dict[str, Any],
    heard: CommandHandler,
    *,
    about: app_commands.locale_str | None = None,
    plain: bool = False,
) -> Command[Any, ..., Any]:
    """Make a command; a `plain` one is answered at once, as a rule to its asker only."""

    async def callback(interaction: discord.Interaction, **given: Any) -> None:
        text = given.pop("text", None) or ""
        if plain:
            await heard(interaction, f"/{name} {text}".rstrip(), name not in SHOWN_TO_ALL)
        else:
            await heard(interaction, typed(name, text, **given), given.get("private", False))

    keys = {key if key in _NAMED else "text": key for key in options}
    parameters = [Parameter("interaction", _KIND, annotation=discord.Interaction)]
    parameters += [
        Parameter(option, _KIND, annotation=options[key], default=_DEFAULTS.get(key))
        for option, key in keys.items()
    ]
    callback.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # discord.py reads it
    app_commands.describe(**{n: described(f"discord.option_{k}") for n, k in keys.items()})(
        callback
    )
    app_commands.rename(**{n: named(n, f"discord.option_name_{n}") for n in keys})(callback)
    return Command(
        name=named(name, f"discord.name_{name}"),
        description=about or described(f"discord.about_{name}"),
        callback=callback,
    )


def _styled(
    command: Command[Any, ..., Any], registry: Registry, name: str = ""
) -> Command[Any, ..., Any]:
    async def styles(_interaction: discord.Interaction, current: str) -> list[Choice[str]]:
        return matching(registry, current, name)

    command.autocomplete("style")(styles)
    return command


def matching(registry: Registry, current: str, command: str = "") -> list[Choice[str]]:
    experts = registry.of_command(command) if command else registry.experts
    sought = current.strip().casefold()
    found = [e for e in experts if any(sought in alias.casefold() for alias in e.aliases)]
    return [
        Choice(name=f"{e.title}: {e.about}".rstrip(": ")[:MAX_CHOICE], value=e.name)
        for e in found[:MAX_CHOICES]
    ]


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

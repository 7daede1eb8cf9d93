"""The slash commands, made from the cards and the grammar, and the context menu."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

import discord
from discord import app_commands
from discord.app_commands import Choice, Command, Range

from bot.discord_client.errors import PASSING
from bot.discord_client.modal import CommandHandler, ContinueIn
from bot.discord_client.typed import typed
from bot.discord_client.words import Words, described, named
from bot.locales import words
from engine.plan.cards import Registry
from engine.plan.plan import MAX_SEED, MIN_LENGTH

MAX_TYPED = 6000  # characters; Discord's own limit for an option
MAX_CHOICES = 25
MAX_CHOICE = 100  # characters of a choice
# /admin is not offered: operators write it as text, to the bot alone.
PLAIN = (
    "styles", "why", "cancel", "queue", "help", "privacy", "forget", "report", "settings", "mydata",
    "guess",
)  # fmt: skip
STUDY = ("consent", "withdraw", "link", "study")  # offered while there is one
SHOWN_TO_ALL = ("study",)
log = logging.getLogger(__name__)

# what may follow a command
TOPICS = {
    "help": "topic", "report": "reason", "settings": "change", "link": "code", "study": "part",
}  # fmt: skip


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
    """Every command; `longest` is the most tokens of an answer, `more` are further plain commands."""
    tree = Tree(
        client,
        allowed_contexts=app_commands.AppCommandContext(
            guild=True, dm_channel=True, private_channel=True
        ),
        allowed_installs=app_commands.AppInstallationType(guild=True, user=True),
    )
    for command in _commands(registry, longest, heard):
        tree.add_command(command)
    for name in more:
        tree.add_command(_made(name, described(f"discord.about_{name}"), _plain(name, heard)))
    tree.add_command(_menu(registry))
    return tree


async def translate(tree: app_commands.CommandTree[Any]) -> None:
    """Names and descriptions in every language that the program has."""
    await tree.set_translator(Words())


def _commands(
    registry: Registry, longest: int, heard: CommandHandler
) -> Iterable[Command[Any, ..., Any]]:
    for name in registry.commands:
        experts = registry.of_command(name)
        titles = ", ".join(expert.title for expert in experts)
        picture = experts[0].medium == "image"
        callback = _picture(name, heard) if picture else _text(name, longest, heard)
        key = "discord.about_picture" if picture else "discord.about_text"
        yield _styled(_made(name, described(key, names=_short(titles)), callback), registry, name)
    yield _styled(
        _made("again", described("discord.about_again"), _again(longest, heard)), registry
    )
    on = _made("continue", described("discord.about_continue"), _continue(longest, heard))
    yield _styled(on, registry)
    both = _made("compare", described("discord.about_compare"), _text("compare", longest, heard))
    yield _styled(both, registry)
    for name in PLAIN:
        yield _made(name, described(f"discord.about_{name}"), _plain(name, heard))


def _made(name: str, about: app_commands.locale_str, callback: Any) -> Command[Any, ..., Any]:
    return Command(name=named(name, f"discord.name_{name}"), description=about, callback=callback)


def _short(titles: str) -> str:
    return titles if len(titles) <= 50 else titles[:49] + "…"


def _options(**names: str) -> Callable[[Any], Any]:
    """Descriptions and translated names of a callback's options."""
    about = {name: described(f"discord.option_{key}") for name, key in names.items()}
    called = {name: named(name, f"discord.option_name_{name}") for name in names}

    def marked(callback: Any) -> Any:
        return app_commands.rename(**called)(app_commands.describe(**about)(callback))

    return marked


def _text(name: str, longest: int, heard: CommandHandler) -> Any:
    @_options(text="text", style="style", length="length", seed="seed", private="private")
    async def callback(
        interaction: discord.Interaction,
        text: Range[str, 1, MAX_TYPED],
        style: Range[str, 1, 64] | None = None,
        length: Range[int, MIN_LENGTH, longest] | None = None,
        seed: Range[int, 0, MAX_SEED] | None = None,
        private: bool = False,
    ) -> None:
        said = typed(name, text, style=style, length=length, seed=seed, private=private)
        await heard(interaction, said, private)

    return callback


def _picture(name: str, heard: CommandHandler) -> Any:
    @_options(
        text="picture", style="style", size="size", count="count", negative="negative",
        scale="scale", seed="seed", private="private",
    )  # fmt: skip
    async def callback(
        interaction: discord.Interaction,
        text: Range[str, 1, MAX_TYPED],
        style: Range[str, 1, 64] | None = None,
        size: Range[str, 1, 11] | None = None,
        count: Range[int, 1, 4] | None = None,
        negative: Range[str, 1, 300] | None = None,
        scale: Range[float, 0.0, 2.0] | None = None,
        seed: Range[int, 0, MAX_SEED] | None = None,
        private: bool = False,
    ) -> None:
        said = typed(
            name, text, style=style, size=size, count=count, negative=negative, scale=scale,
            seed=seed, private=private,
        )  # fmt: skip
        await heard(interaction, said, private)

    return callback


def _again(longest: int, heard: CommandHandler) -> Any:
    @_options(style="style", length="length", seed="seed")
    async def callback(
        interaction: discord.Interaction,
        style: Range[str, 1, 64] | None = None,
        length: Range[int, MIN_LENGTH, longest] | None = None,
        seed: Range[int, 0, MAX_SEED] | None = None,
    ) -> None:
        await heard(interaction, typed("again", style=style, length=length, seed=seed), False)

    return callback


def _continue(longest: int, heard: CommandHandler) -> Any:
    @_options(text="more", style="style", length="length", seed="seed")
    async def callback(
        interaction: discord.Interaction,
        text: Range[str, 1, MAX_TYPED] | None = None,
        style: Range[str, 1, 64] | None = None,
        length: Range[int, MIN_LENGTH, longest] | None = None,
        seed: Range[int, 0, MAX_SEED] | None = None,
    ) -> None:
        said = typed("continue", text or "", style=style, length=length, seed=seed)
        await heard(interaction, said, False)

    return callback


def _plain(name: str, heard: CommandHandler) -> Any:
    """A command that is answered at once, as a rule to its asker only."""
    secret = name not in SHOWN_TO_ALL
    if name not in TOPICS:

        async def alone(interaction: discord.Interaction) -> None:
            await heard(interaction, f"/{name}", secret)

        return alone

    @_options(text=TOPICS[name])
    async def callback(
        interaction: discord.Interaction, text: Range[str, 1, 300] | None = None
    ) -> None:
        await heard(interaction, f"/{name} {text or ''}".rstrip(), secret)

    return callback


def _styled(
    command: Command[Any, ..., Any], registry: Registry, name: str = ""
) -> Command[Any, ..., Any]:
    """With the styles' names coming up while one is typed."""

    async def styles(_interaction: discord.Interaction, current: str) -> list[Choice[str]]:
        return matching(registry, current, name)

    command.autocomplete("style")(styles)
    return command


def matching(registry: Registry, current: str, command: str = "") -> list[Choice[str]]:
    """The experts that the typed letters fit, by name, title or keyword; at most 25."""
    experts = registry.of_command(command) if command else registry.experts
    sought = current.strip().casefold()
    found = [e for e in experts if any(sought in alias.casefold() for alias in e.aliases)]
    return [
        Choice(name=f"{e.title}: {e.about}".rstrip(": ")[:MAX_CHOICE], value=e.name)
        for e in found[:MAX_CHOICES]
    ]


def _menu(registry: Registry) -> app_commands.ContextMenu:
    async def callback(interaction: discord.Interaction, message: discord.Message) -> None:
        locale, me = interaction.locale.value, interaction.client.user
        await interaction.response.send_modal(ContinueIn(registry, message, locale, me))

    name = named("Continue in the style of…", "discord.name_menu")
    return app_commands.ContextMenu(name=name, callback=callback)

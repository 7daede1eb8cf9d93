"""Every language says what English says, with the same blanks to fill."""

import string
import tomllib
from importlib.resources import files

import pytest

from bot.locales import language_of, languages, words
from bot.messages.buttons import Verb


def table(language: str) -> dict[str, dict[str, str]]:
    return tomllib.loads(files("bot.locales").joinpath(f"{language}.toml").read_text("utf-8"))


def blanks(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", languages()[1:])
def test_a_language_has_no_key_that_english_lacks_and_the_same_blanks(language: str) -> None:
    english = table("en")
    for name, entries in table(language).items():
        assert set(entries) <= set(english[name])
        for key, text in entries.items():
            assert blanks(text) == blanks(english[name][key]), f"{name}.{key}"


@pytest.mark.parametrize("language", languages())
def test_every_button_and_command_has_its_words_within_the_platforms_limits(language: str) -> None:
    assert all(0 < len(words(f"buttons.{verb}", language)) <= 64 for verb in Verb)
    for key in table("en")["commands"]:
        assert 0 < len(words(f"commands.{key}", language)) <= 100  # Discord's limit
    for key in table("en")["options"]:
        assert 0 < len(words(f"options.{key}", language)) <= 100


def test_an_unknown_language_or_a_missing_word_is_english() -> None:
    assert language_of("pt-BR") == "en"
    assert words("moderation.output", "xx") == words("moderation.output")


def test_italian_is_whole_for_what_everybody_meets() -> None:
    english, italian = table("en"), table("it")
    for name in ("buttons", "commands", "options", "privacy", "talk", "moderation"):
        assert set(italian[name]) >= set(english[name]) - {"terminal"}

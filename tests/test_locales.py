"""Every language says what English says, with the same blanks to fill."""

import ast
import re
import string
import tomllib
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest

from bot.locales import language_of, languages, spoken, words
from bot.messages.buttons import Verb
from bot.messages.wording import styles
from engine.errors import APOLOGY, KIND_SENTENCE
from engine.events import UNSERVED
from engine.queues.dispatcher import LOADING
from engine.study.experiments.passages import shipped
from engine.study.study import DESTROYED, LOST


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
    options = [key for key in table("en")["discord"] if key.startswith("option_")]
    assert options and all(0 < len(words(f"discord.{key}", language)) <= 100 for key in options)


def test_every_shipped_expert_is_told_in_italian(registry) -> None:
    listed = styles(registry, "it-IT")
    assert all(
        e.about_it and e.about_it in listed and e.about not in listed for e in registry.experts
    )
    assert registry["newsroom"].said("title", "it") == "un articolo di cronaca"
    assert registry["poe"].said("title", "it") == "Edgar Allan Poe", "a name is the same"
    assert registry["newsroom"].said("title", "fr") == "a news report"


@pytest.mark.parametrize(("language", "every"), [("en", "every message"), ("it", "ogni messaggio")])
def test_that_every_message_is_a_request_is_said_wherever_it_is_spoken_of(
    language: str, every: str
) -> None:
    for key in ("privacy.text", "talk.settings_shown", "talk.settings_talk_on"):
        assert every in table(language)[key.split(".")[0]][key.split(".")[1]], key


@pytest.mark.parametrize("language", languages())
def test_what_help_lists_fits_a_line(language: str) -> None:
    for part in ("help_commands", "help_chats", "help_terminal"):
        for key, line in table(language)[part].items():
            assert len(line) <= 78, f"{part}.{key}"


def test_an_unknown_language_or_a_missing_word_is_english() -> None:
    assert language_of("pt-BR") == "en"
    assert words("moderation.output", "xx") == words("moderation.output")


def test_italian_is_whole_for_what_everybody_meets() -> None:
    english, italian = table("en"), table("it")
    for name in (
        "buttons",
        "commands",
        "privacy",
        "talk",
        "moderation",
        "progress",
        "footer",
        "why",
        "queue",
        "help",
        "help_commands",
        "help_chats",
        "typing",
        "terminal",
        "help_terminal",
    ):
        assert set(italian[name]) >= set(english[name]) - {"terminal"}


CHATS = ("messages", "service", "study", "clients", "discord_client", "telegram_client")
# whose words are for the log, for an operator, or for a caller
UNSAID = ("SetupError", "ValueError", "debug", "info", "warning", "error", "exception", "_say")
OPERATORS = ("REFUSED", "CONFLICT")  # constants that a SetupError or the log says
SENTENCE = re.compile(r"[A-Z][^:/]*\b[a-z]+ [a-z]+")


def sentences(tree: ast.Module) -> Iterator[str]:
    """What might be said to somebody."""
    unsaid: set[ast.AST] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if name in UNSAID:
                unsaid |= set(ast.walk(node))
            case ast.Assign(targets=[ast.Name(id=name)]) if name in OPERATORS:
                unsaid |= set(ast.walk(node))
            case ast.Expr(value=ast.Constant() as docstring):
                unsaid.add(docstring)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in unsaid and isinstance(node.value, str):
            yield from [node.value] if SENTENCE.match(node.value) else []


@pytest.mark.parametrize("folder", [*CHATS, "terminal_client"])
def test_words_that_people_read_stand_in_the_locales(folder: str) -> None:
    made_up = "simulated_person.py"  # simulated people's requests
    for path in (Path(__file__).parents[1] / "bot" / folder).glob("*.py"):
        if path.name != made_up:
            found = list(sentences(ast.parse(path.read_text(encoding="utf-8"))))
            assert not found, f"{path.name}: {found}"


def test_a_sentence_in_the_code_is_found() -> None:
    said = 'raise AskerError("Please say what you would like.")\nlog.info("A line of the log")'
    assert list(sentences(ast.parse(said))) == ["Please say what you would like."]


def test_where_passages_are_from_is_said_in_italian() -> None:
    for item in shipped():
        if item.kind == "generated":
            assert spoken(item.source, "it").startswith(
                "scritto dall'esperto di H. P. Lovecraft (base"
            )
        assert spoken(item.licence, "it").split()[0] in ("pubblico", "generato")


REFUSALS = ("CommandError", "StyleError", "LimitError", "BusyError")


def refusals(path: Path) -> Iterator[str]:
    """What the engine says to an asker, its blanks filled."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Name(id=name), args=[said]) if name in REFUSALS:
                parts = said.values if isinstance(said, ast.JoinedStr) else [said]
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "7" for part in parts
                )


def test_what_the_engine_says_to_people_is_said_in_their_language() -> None:
    engine = Path(__file__).parents[1] / "engine"
    found = [
        s for part in ("plan", "queues") for p in (engine / part).rglob("*.py") for s in refusals(p)
    ]
    assert len(found) > 10
    for said in (*found, KIND_SENTENCE, APOLOGY, UNSERVED, LOADING, LOST, DESTROYED):
        assert spoken(said, "it") != said == spoken(said, "en")

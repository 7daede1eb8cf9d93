"""The words around an answer in the asker's language: en.toml is whole, other files may lag behind."""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files
from string import Formatter

DEFAULT = "en"
END = "\0"  # of a text, which no text holds
_heard: ContextVar[str] = ContextVar("heard", default=DEFAULT)


@cache
def _tables(language: str) -> dict[str, dict[str, str]]:
    path = files("bot.locales").joinpath(f"{language}.toml")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def languages() -> tuple[str, ...]:
    """Give the codes of the languages there are, the default first."""
    found = sorted(p.name[:-5] for p in files("bot.locales").iterdir() if p.name.endswith(".toml"))
    return (DEFAULT, *(code for code in found if code != DEFAULT))


def language_of(locale: str) -> str:
    """The language that serves a platform's locale.

    >>> language_of("it-IT"), language_of("de"), language_of("")
    ('it', 'en', 'en')
    """
    code = locale.replace("_", "-").split("-")[0].lower()
    return code if code in languages() else DEFAULT


@contextmanager
def hearing(locale: str) -> Iterator[None]:
    """Say in this language what is said of a text that is being read, where no locale is at hand."""
    token = _heard.set(locale)
    try:
        yield
    finally:
        _heard.reset(token)


def table(part: str, locale: str = DEFAULT) -> dict[str, str]:
    return _tables(DEFAULT)[part] | _tables(language_of(locale)).get(part, {})


def spoken(text: str, locale: str) -> str:
    """Translate a sentence that the engine said, which knows English only; leave any other as it is.

    >>> spoken("The seed must be between 0 and 9.", "it")
    'Il seme deve stare fra 0 e 9.'
    """
    for name, sentence in table("engine").items() if language_of(locale) != DEFAULT else ():
        if (found := _blanks(sentence, text)) is not None:
            return words(f"engine.{name}", locale, **found)
    return text


def _blanks(sentence: str, text: str) -> dict[str, str] | None:
    """Find what fills a sentence's blanks in the text; None where it is another sentence."""
    values, blank = dict[str, str](), ""
    rest, sentence = text + END, sentence + END
    for literal, following, _, _ in Formatter().parse(sentence):
        filled, found, rest = rest.partition(literal) if literal else ("", END, rest)
        if not found or filled != (values.setdefault(blank, filled) if blank else ""):
            return None
        blank = following or ""
    return values


def words(key: str, locale: str = "", **values: object) -> str:
    """The words of `table.name`, in English where the language lacks them. Raises KeyError.

    >>> words("buttons.continue", "it")
    'Continua'
    """
    part, _, name = key.partition(".")
    text = table(part, locale or _heard.get())[name]
    return text.format(**values) if values else text

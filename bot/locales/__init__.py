"""The words around an answer in the asker's language: en.toml is whole, other files may lag behind.

A new language is one more file here, named by its code.
"""

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib.resources import files

DEFAULT = "en"
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


def words(key: str, locale: str = "", **values: object) -> str:
    """The words of `table.name`, in English where the language lacks them. Raises KeyError.

    >>> words("buttons.continue", "it")
    'Continua'
    """
    part, _, name = key.partition(".")
    text = table(part, locale or _heard.get())[name]
    return text.format(**values) if values else text

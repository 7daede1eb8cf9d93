"""What may be said beside a request's text: --style, --length and the like, and back to text. Pure."""

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bot.locales import words
from bot.messages.normalise import clean
from engine.errors import CommandError

MAX_STYLE = 64
MAX_INTEGER = 10  # digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Hold what was said; bounds are checked where the request is planned."""

    style: str | None = None
    length: int | None = None
    seed: int | None = None
    size: tuple[int, int] | None = None
    count: int | None = None
    negative: str | None = None
    scale: float | None = None
    private: bool = False


_DASHES = re.compile(r"--(?=\w)")
_VALUE = r"(?:\"(?P<quoted>[^\"\n]*)\"|(?P<plain>\S+))"
_OPTION = re.compile(rf"(?:--|—|–)(?P<name>[a-zA-Z]+)(?:=|\s+|$)(?:{_VALUE})?(?:\s+|$)")
_END = re.compile(r"--(?:\s+|$)")
_EXAMPLE = {
    "style": "--style lovecraft",
    "length": "--length 200",
    "seed": "--seed 7",
    "size": "--size 512x768",
    "count": "--count 2",
    "negative": '--negative "a hand"',
    "scale": "--scale 0.8",
}
NAMES = tuple(_EXAMPLE)
_WORDS = ("style", "negative")  # options whose value may be anything; the others begin with a digit
_TRAILING = re.compile(
    rf"\s(?:--|—|–)(?P<name>{'|'.join(NAMES)})(?:=|\s+){_VALUE}\s*$", re.IGNORECASE
)
_LOOKS_TRAILING = re.compile(r"\s(?:--|—|–)(?P<name>\w+)(?:=|\s+)\S+\s*$")
_FLAG = re.compile(r"(?:--|—|–)private(?:\s+|$)", re.IGNORECASE)
_LAST_FLAG = re.compile(r"\s(?:--|—|–)private\s*$", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]{1,5})(?:[xX×]([0-9]{1,5}))?")
_DECIMAL = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,6})?")
_INTEGER = re.compile(rf"-?[0-9]{{1,{MAX_INTEGER}}}")
_Reader = Callable[[str, str], Any]  # of an option's name and value


def read_options(rest: str) -> tuple[str, Options]:
    """Split a text from the options around it. Raises CommandError."""
    found: dict[str, str] = {}
    while (option := _FLAG.match(rest) or _OPTION.match(rest)) is not None:
        if option.re is _OPTION:
            name, value = option["name"].lower(), option["quoted"] or option["plain"] or ""
            number = name in NAMES and value.lstrip("-")[:1].isdigit()
            if not (name in _WORDS or number or rest.startswith("--")):
                break  # a dash of the story's own: "—Length matters, said he"
            if name not in NAMES:
                raise _unknown_option(name)
        _put(found, option)
        rest = rest[option.end() :]
    if end := _END.match(rest):
        return rest[end.end() :].strip(), checked(found)
    if _DASHES.match(rest):
        raise _unknown_option(rest.split(maxsplit=1)[0].lstrip("-")[:20])
    trailing: dict[str, str] = {}
    rest = rest.rstrip()
    flag = len(" --private")  # looked for only at the end, for it may stand there a thousand times
    while option := _LAST_FLAG.search(rest, max(0, len(rest) - flag)) or _TRAILING.search(rest):
        _put(trailing, option)
        rest = rest[: option.start()].rstrip()
    if (typo := _LOOKS_TRAILING.search(rest)) and difflib.get_close_matches(
        typo["name"].lower(), (*NAMES, "private"), n=1, cutoff=0.75
    ):
        raise _unknown_option(typo["name"])
    for name in trailing.keys() & found.keys() - {"private"}:
        raise _wrong("twice", name)
    return rest.strip(), checked(found | trailing)


def _put(found: dict[str, str], option: re.Match[str]) -> None:
    if option.re in (_FLAG, _LAST_FLAG):
        found["private"] = "yes"
        return
    name, value = option["name"].lower(), option["quoted"]
    if value is None:
        value = option["plain"]
        if name == "style":  # "--style agatha: The colonel coughed."
            value = value and value.removesuffix(":")
    if not value or not value.strip() or value.startswith("--") or '"' in value:
        raise _wrong("no_value", name)
    if name in found:
        raise _wrong("twice", name)
    found[name] = value.strip()


def checked(found: dict[str, str]) -> Options:
    return Options(**{name: _READ[name](name, value) for name, value in found.items()})


def checked_style(style: str) -> str:
    style = clean(style)
    if not style or len(style) > MAX_STYLE or '"' in style or "\n" in style:
        raise CommandError(words("typing.bad_style", most=MAX_STYLE))
    return style


def _negative(name: str, value: str) -> str:
    if '"' in value:
        raise _wrong("quotes", name)
    return " ".join(value.split())


def _shaped(pattern: re.Pattern[str], wrong: str, read: Callable[[re.Match[str]], Any]) -> _Reader:
    def reader(name: str, value: str) -> Any:
        found = pattern.fullmatch(value)
        if found is None:
            raise _wrong(wrong, name, value)
        return read(found)

    return reader


_integer = _shaped(_INTEGER, "no_integer", lambda found: int(found[0]))
_READ: dict[str, _Reader] = {
    "style": lambda _, value: checked_style(value),
    "length": _integer,
    "seed": _integer,
    "size": _shaped(_SIZE, "no_size", lambda found: (int(found[1]), int(found[2] or found[1]))),
    "count": _integer,
    "negative": _negative,
    "scale": _shaped(_DECIMAL, "no_number", lambda found: float(found[0])),
    "private": lambda *_: True,
}


def _wrong(key: str, name: str, value: str = "") -> CommandError:
    value = value if len(value) <= 20 else value[:19] + "…"
    example = _EXAMPLE.get(name, "")
    return CommandError(words(f"typing.{key}", name=name, value=value, example=example))


def _unknown_option(name: str) -> CommandError:
    near = difflib.get_close_matches(name.lower(), (*NAMES, "private"), n=1)
    hint = words("typing.near_option", near=near[0]) if near else ""
    return CommandError(words("typing.unknown_option", name=name, hint=hint))


def typed(name: str, text: str = "", *, verbatim: bool = False, **options: object) -> str:
    """Write a command as a person would type it. `verbatim` text holds no options of its own.

    >>> typed("story", "in the style of agatha: It rained.", length=80, seed=None)
    '/story --length 80 in the style of agatha: It rained.'
    >>> typed("story", "--dash", verbatim=True, style="agatha christie")
    '/story --style "agatha christie" -- --dash'
    """
    parts = [f"/{name}"]
    for option, value in options.items():
        if value is None or value is False or option not in (*NAMES, "private"):
            continue
        parts.append(f"--{option}" if value is True else f"--{option} {_written(option, value)}")
    parts += ["--"] if verbatim and text else []
    return " ".join([*parts, text]).rstrip()


def _written(name: str, value: object) -> str:
    match value:
        case (width, height):
            return f"{width}x{height}"
        case float():
            return f"{value:.6f}".rstrip("0").rstrip(".")
    text = " ".join(line.strip() for line in str(value).split("\n") if line.strip())
    plain = text and name != "negative" and not re.search(r"[\s\"]|:$", text)
    return text if plain else '"' + text.replace('"', "”") + '"'

"""What may be said beside a request's text: --style, --length and the like, and back to text. Pure."""

import difflib
import re
from dataclasses import dataclass

from bot.messages.normalise import clean
from engine.errors import CommandError

MAX_STYLE = 64
MAX_INTEGER = 10  # digits


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What may be said beside the text. Bounds are checked where the request is made."""

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
_WORDS = ("style", "negative")  # options whose value may be anything
_NUMBERS = {"length": "200", "seed": "7", "size": "512x768", "count": "2", "scale": "0.8"}
NAMES = ("style", "length", "seed", "size", "count", "negative", "scale")
_TRAILING = re.compile(
    rf"\s(?:--|—|–)(?P<name>{'|'.join(NAMES)})(?:=|\s+){_VALUE}\s*$", re.IGNORECASE
)
_LOOKS_TRAILING = re.compile(r"\s(?:--|—|–)(?P<name>\w+)(?:=|\s+)\S+\s*$")
_FLAG = re.compile(r"(?:--|—|–)private(?:\s+|$)", re.IGNORECASE)
_LAST_FLAG = re.compile(r"\s(?:--|—|–)private\s*$", re.IGNORECASE)
_SIZE = re.compile(r"([0-9]{1,5})(?:[xX×]([0-9]{1,5}))?")
_DECIMAL = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,6})?")
_EXAMPLE = {"style": "--style lovecraft", "negative": '--negative "a hand"'} | {
    name: f"--{name} {value}" for name, value in _NUMBERS.items()
}


def read_options(rest: str) -> tuple[str, Options]:
    """The text, and the options around it."""
    found: dict[str, str] = {}
    while (option := _FLAG.match(rest) or _OPTION.match(rest)) is not None:
        if option.re is _FLAG:
            found["private"] = "yes"
            rest = rest[option.end() :]
            continue
        name = option["name"].lower()
        value = option["quoted"] or option["plain"] or ""
        known = name in _WORDS or (name in _NUMBERS and value.lstrip("-")[:1].isdigit())
        if not known and not rest.startswith("--"):
            break  # a dash of the story's own: "—Length matters, said he"
        if name not in NAMES:
            raise _unknown_option(name)
        _put(found, name, option)
        rest = rest[option.end() :]
    if end := _END.match(rest):
        return rest[end.end() :].strip(), checked(found)
    if _DASHES.match(rest):
        raise _unknown_option(rest.split(maxsplit=1)[0].lstrip("-")[:20])
    trailing: dict[str, str] = {}
    rest = rest.rstrip()
    while (option := _last_flag(rest) or _TRAILING.search(rest)) is not None:
        if option.re is _LAST_FLAG:
            found["private"] = "yes"
            rest = rest[: option.start()].rstrip()
            continue
        _put(trailing, option["name"].lower(), option)
        rest = rest[: option.start()].rstrip()
    if (typo := _LOOKS_TRAILING.search(rest)) and difflib.get_close_matches(
        typo["name"].lower(), (*NAMES, "private"), n=1, cutoff=0.75
    ):
        raise _unknown_option(typo["name"])
    for name, value in trailing.items():
        if name in found:
            raise CommandError(f"--{name} stands there twice. Please say it once.")
        found[name] = value
    return rest.strip(), checked(found)


def _last_flag(rest: str) -> re.Match[str] | None:
    """--private at the end; looked for only there, for it may stand there a thousand times."""
    return _LAST_FLAG.search(rest, max(0, len(rest) - len(" --private")))


def _put(found: dict[str, str], name: str, option: re.Match[str]) -> None:
    value = option["quoted"]
    if value is None:
        value = option["plain"]
        if name == "style":  # "--style agatha: The colonel coughed."
            value = value and value.removesuffix(":")
    if not value or not value.strip() or value.startswith("--") or '"' in value:
        raise CommandError(f"--{name} needs a value, for example {_EXAMPLE[name]}.")
    if name in found:
        raise CommandError(f"--{name} stands there twice. Please say it once.")
    found[name] = value.strip()


def checked(found: dict[str, str]) -> Options:
    """The options, from each one's own words. Raises CommandError."""
    style, negative = found.get("style"), found.get("negative")
    return Options(
        style=None if style is None else checked_style(style),
        length=_integer("length", found),
        seed=_integer("seed", found),
        size=_size(found),
        count=_integer("count", found),
        negative=negative and _one_line(negative),
        scale=_decimal("scale", found),
        private="private" in found,
    )


def _one_line(words: str) -> str:
    words = " ".join(words.split())
    if '"' in words:
        raise CommandError(f"--negative takes words without quotes: {_EXAMPLE['negative']}.")
    return words


def _size(found: dict[str, str]) -> tuple[int, int] | None:
    value = found.get("size")
    if value is None:
        return None
    size = _SIZE.fullmatch(value)
    if size is None:
        raise CommandError(
            f"--size takes pixels, not “{_short(value)}”: --size 512, or --size 512x768."
        )
    return int(size[1]), int(size[2] or size[1])


def _decimal(name: str, found: dict[str, str]) -> float | None:
    value = found.get(name)
    if value is None:
        return None
    if not _DECIMAL.fullmatch(value):
        raise CommandError(f"--{name} takes a number, not “{_short(value)}”: {_EXAMPLE[name]}.")
    return float(value)


def _short(value: str) -> str:
    return value if len(value) <= 20 else value[:19] + "…"


def checked_style(style: str) -> str:
    """A style's name in bounds: one line, no quotation marks. Raises CommandError."""
    style = clean(style)
    if not style or len(style) > MAX_STYLE or '"' in style or "\n" in style:
        raise CommandError(
            f"A style's name is 1 to {MAX_STYLE} characters without quotes. /styles lists them."
        )
    return style


def _integer(name: str, found: dict[str, str]) -> int | None:
    value = found.get(name)
    if value is None:
        return None
    if not re.fullmatch(rf"-?[0-9]{{1,{MAX_INTEGER}}}", value):
        raise CommandError(
            f"--{name} takes a whole number, not “{_short(value)}”: {_EXAMPLE[name]}."
        )
    return int(value)


def _unknown_option(name: str) -> CommandError:
    near = difflib.get_close_matches(name.lower(), (*NAMES, "private"), n=1)
    hint = f" Did you mean --{near[0]}?" if near else ""
    return CommandError(
        f"I do not know the option --{name}.{hint} There are --style, --length, --seed and "
        "--private, and for pictures --size, --count, --negative and --scale; put ` -- ` before a "
        "text that begins with two hyphens."
    )


def written(options: Options) -> list[str]:
    words = []
    if options.style is not None:
        quoted = f'"{options.style}"' if re.search(r"\s|:$", options.style) else options.style
        words.append(f"--style {quoted}")
    if options.length is not None:
        words.append(f"--length {options.length}")
    if options.seed is not None:
        words.append(f"--seed {options.seed}")
    if options.size is not None:
        words.append(f"--size {options.size[0]}x{options.size[1]}")
    if options.count is not None:
        words.append(f"--count {options.count}")
    if options.negative is not None:
        words.append(f'--negative "{options.negative}"')
    if options.scale is not None:
        words.append(f"--scale {options.scale:.6f}".rstrip("0").rstrip("."))
    if options.private:
        words.append("--private")
    return words


def typed(name: str, text: str = "", *, verbatim: bool = False, **options: object) -> str:
    """Write a command as a person would type it. `verbatim` text holds no options of its own.

    >>> typed("story", "in the style of agatha: It rained.", length=80, seed=None)
    '/story --length 80 in the style of agatha: It rained.'
    >>> typed("story", "--dash", verbatim=True, style="agatha christie")
    '/story --style "agatha christie" -- --dash'
    """
    words = [f"/{name}"]
    for option, value in options.items():
        if value is None or value is False or option not in (*NAMES, "private"):
            continue
        words.append(f"--{option}" if value is True else f"--{option} {_written(value)}")
    words += ["--"] if verbatim and text else []
    return " ".join([*words, text]).rstrip()


def _written(value: object) -> str:
    text = " ".join(str(value).split())
    plain = text and " " not in text and '"' not in text
    return text if plain else '"' + text.replace('"', "”") + '"'

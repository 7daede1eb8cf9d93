"""A slash command's options as the text that means the same, so that one grammar reads both. Pure."""

from dataclasses import fields

from bot.messages.options import Options

_NAMES = {field.name for field in fields(Options)}


def typed(name: str, text: str = "", *, verbatim: bool = False, **options: object) -> str:
    """What a person would type. `verbatim` text holds no options of its own.

    >>> typed("story", "in the style of agatha: It rained.", length=80, seed=None)
    '/story --length 80 in the style of agatha: It rained.'
    >>> typed("story", "--dash", verbatim=True, style="agatha christie")
    '/story --style "agatha christie" -- --dash'
    """
    words = [f"/{name}"]
    for option, value in options.items():
        if value is None or value is False or option not in _NAMES:
            continue
        words.append(f"--{option}" if value is True else f"--{option} {_value(value)}")
    words += ["--"] if verbatim and text else []
    return " ".join([*words, text]).rstrip()


def _value(value: object) -> str:
    text = " ".join(str(value).split())
    plain = text and " " not in text and '"' not in text
    return text if plain else '"' + text.replace('"', "”") + '"'

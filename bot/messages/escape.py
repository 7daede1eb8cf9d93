"""Generated text made harmless: no link, invite, mention or command in it works. Pure.

A model writes what it was trained on, addresses included. Readers still see every word.
`defang` comes first and serves every platform; the platform's own escaping is the client's last step.
"""

import re

ZERO_WIDTH = "\u200b"  # splits what a platform would make live, and is not seen

_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u034f\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064"
    "\u2066-\u2069\ufeff]"
)
# Each begins with the sign that it is about: a search for a sign is many times as quick.
_SCHEME = re.compile(r":(?<=\w:)(?=[/\\]{2})")  # whatever stands before: `_http` is read as http
_SCHEMES = ("mailto", "javascript", "data", "tg", "tel", "discord", "steam")
_BARE_SCHEME = re.compile(
    rf":(?=\S)(?:{'|'.join(rf'(?<=(?<![a-z]){name}:)' for name in _SCHEMES)})", re.IGNORECASE
)
_ENDINGS = frozenset(
    """com org net io gg me co uk info biz xyz app dev ru de fr it eu us ly tv to be link site online
    shop club top cc gl gd ai ms in cn jp nl es ch at ca au edu gov news live pro page zip mov pl ua
    su pw store cloud рф""".split()  # noqa: SIM905 - readable
)
_HOST = re.compile(r"(?<![\w-])[\w-]++(?:\.[\w-]++)+")
# Any other dot that a platform might take for a host's: more endings come every year.
_DOT = re.compile(r"[.。．｡](?<=[\w-].)(?=[^\W\d_]{2})")
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
_AT = re.compile(r"@(?=[\w!&])")
_ANGLES = re.compile(r"<(?=[@#:/at])")  # Discord: <@1>, <#1>, <:e:1>, </c:1>, <t:1>, <a:e:1>
_SLASH = re.compile(r"/(?<!\S/)(?=[a-z0-9_]{1,32}(?:\s|@|\Z))", re.IGNORECASE)  # a Telegram command
_HASH = re.compile(r"[#$](?<!\w.)(?=\w)")  # Telegram's hashtags and cashtags

_DISCORD_MARKS = {ord(mark): f"\\{mark}" for mark in "\\*_~`|["}
# up to the sign that makes a heading, small print, a quote or an item of its line
_DISCORD_LINE = re.compile(r"(?m)^[ \t]*(?:(?=(?:#{1,3}|-#|>{1,3}|[-+])\s)|\d{1,9}(?=\.\s))")


def defang(text: str) -> str:
    """The same words, with nothing that a platform would make live. defang(defang(x)) == defang(x).

    >>> defang("see https://example.com/a, @everyone").replace("\\u200b", "|")
    'see https[:]//example[.]com/a, @|everyone'
    """
    text = _HIDDEN.sub("", text)
    text = _SCHEME.sub("[:]", text)
    text = _BARE_SCHEME.sub("[:]", text)
    text = _HOST.sub(_host, text)
    text = _DOT.sub(_apart, text)
    text = _ADDRESS.sub(lambda found: found[0].replace(".", "[.]"), text)
    text = _AT.sub("@" + ZERO_WIDTH, text)
    text = _ANGLES.sub("<" + ZERO_WIDTH, text)
    text = _SLASH.sub("/" + ZERO_WIDTH, text)
    return _HASH.sub(_apart, text)


def _apart(found: re.Match[str]) -> str:
    return found[0] + ZERO_WIDTH


def _host(found: re.Match[str]) -> str:
    labels = found[0].split(".")
    ends = [n for n, label in enumerate(labels) if n and label.lower() in _ENDINGS]
    last = ends[-1] if ends else 0
    return ".".join(["[.]".join(labels[: last + 1]), *labels[last + 1 :]])


def quoting(text: str) -> str:
    """The bot's own words, in which only what it quotes is made harmless: its commands stay alive.

    >>> quoting("I have no style “t.me/x”. Send /styles.")
    'I have no style “t[.]me/x”. Send /styles.'
    """
    return "\n".join(map(_quoting, text.split("\n")))


def _quoting(line: str) -> str:
    """By hand: a pattern would look through the line anew from each opening sign."""
    start, end = line.find("“"), line.rfind("”") + 1
    return line if not -1 < start < end else line[:start] + defang(line[start:end]) + line[end:]


def discord_text(text: str) -> str:
    """Plain text as Discord shows it letter by letter: its markup escaped.

    >>> discord_text("# *One*")
    '\\\\# \\\\*One\\\\*'
    """
    return _DISCORD_LINE.sub(r"\g<0>\\", text.translate(_DISCORD_MARKS))


def discord_length(text: str) -> int:
    """Count its characters so escaped: one more for a mark, one for a line that begins with one."""
    marks = sum(map(text.count, map(chr, _DISCORD_MARKS)))
    return len(text) + marks + sum(1 for _ in _DISCORD_LINE.finditer(text))

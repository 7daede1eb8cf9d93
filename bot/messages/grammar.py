"""One text grammar for every platform: text <-> Command. Pure.

    /story [--style S] [--length N] [--seed N] [--] TEXT     and the other commands of the cards
    /jewel [--size N|WxH] [--count N] [--negative "..."] [--scale X] [--seed N] [--] TEXT
    /again [options]   /continue [options] [TEXT]
    /stories  /story tree  /story export  /story notes  /note [FACT]
    /styles  /why  /cancel  /queue  /help [COMMAND]
    /privacy  /forget  /report [REASON]  /settings [...]  /admin [...]  /start
    /consent  /withdraw  /mydata  /link [CODE]  /study [on|off]
    /compare [--style S or A,B] [options] [--] [/COMMAND] TEXT     /guess   /rate [CODE]

Text without a slash is a story request as it stands, unless the router finds it nearer to another
command's card. Options may stand before the text or after it; ` -- ` ends them. `/story@AnyBot` is
`/story`. What phones make of two hyphens (one dash) is read as two hyphens. parse(typed(...)) is the
command that was typed, where its texts are clean (see normalise.clean).
"""

import difflib
import re
from dataclasses import dataclass, field, replace

from bot.locales import words
from bot.messages.normalise import clean, shows
from bot.messages.options import MAX_STYLE, Options, read_options
from engine.errors import CommandError, LimitError

DEFAULT_COMMAND = "story"
MAX_REASON = 500  # characters after /report, /note and the like
# words of any kind may follow
FREE = ("report", "note", "settings", "admin", "link", "study", "rate")
STUDY = ("consent", "withdraw", "mydata", "guess")
OF_STORIES = ("tree", "export", "notes")  # after /story, alone
BARE = (
    "styles",
    "stories",
    "why",
    "cancel",
    "queue",
    "help",
    "privacy",
    "forget",
    "start",
    *STUDY,
    *FREE,
)
RESERVED = ("again", "continue", "compare", *BARE)  # no card may answer these


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Ask the experts of a command ("story") for something new; `free`: nobody typed which."""

    command: str
    text: str
    options: Options = Options()
    free: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Ask for two answers to one request, side by side and blinded."""

    command: str
    text: str
    options: Options = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """Repeat the last request, with another seed unless one is named."""

    options: Options = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue:
    """Go on from the last answer; `text` is put after it first."""

    text: str = ""
    options: Options = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class Simple:
    """Everything without options. `topic` is what follows help, report, settings and the like."""

    name: str
    topic: str = ""


Command = Generate | Again | Continue | Compare | Simple

_HEAD = re.compile(r"/(?P<name>\w{1,32})(?:@\w{1,64})?(?=[\s:]|$):?\s*")


def parse(text: str, commands: tuple[str, ...] = (DEFAULT_COMMAND,)) -> Command:
    """What was meant. `commands` are those of the cards. Raises CommandError or LimitError.

    >>> parse("/story --style agatha The vicar coughed.").options.style
    'agatha'
    >>> parse("The vicar coughed. --length 80").options.length
    80
    """
    text = clean(text)
    if not shows(text):
        raise CommandError(words("typing.empty"))
    if not text.startswith("/"):
        asked = _with_options(DEFAULT_COMMAND, text)
        return replace(asked, free=True) if isinstance(asked, Generate) else asked
    head = _HEAD.match(text)
    name = head["name"].lower() if head else ""
    if head is None or not (name in commands or name in RESERVED):
        name = name or text.split(maxsplit=1)[0][1:20]
        near = difflib.get_close_matches(name.lower(), (*commands, *RESERVED), n=1)
        hint = words("typing.near", near=near[0]) if near else words("typing.no_near")
        raise CommandError(words("typing.unknown", name=name, hint=hint))
    rest = text[head.end() :]
    if name == DEFAULT_COMMAND and (part := rest.strip().lower()) in OF_STORIES:
        return Simple(name=part)
    if name in BARE:
        return _simple(name, rest)
    if name == "compare":
        return _compare(rest, commands)
    return _with_options(name, rest)


def _compare(rest: str, commands: tuple[str, ...]) -> Compare:
    text, options = read_options(rest)
    head = _HEAD.match(text)
    name = DEFAULT_COMMAND
    if head is not None and head["name"].lower() in commands:
        name, text = head["name"].lower(), text[head.end() :].strip()
    if not text:
        raise CommandError(words("typing.compare"))
    return Compare(command=name, text=text, options=options)


def _simple(name: str, rest: str) -> Simple:
    topic = " ".join(rest.split())
    if name in FREE:
        if len(topic) > MAX_REASON:
            raise LimitError(words("typing.brief", name=name, most=MAX_REASON))
        return Simple(name=name, topic=topic)
    topic = topic.lstrip("/ ")
    if topic and name not in ("help", "start"):  # Telegram's links put a word after /start
        raise CommandError(words("typing.nothing_after", name=name))
    if len(topic) > MAX_STYLE or "\n" in rest.strip():
        raise CommandError(words("typing.help"))
    return Simple(name=name, topic=topic)


def _with_options(name: str, rest: str) -> Command:
    text, options = read_options(rest)
    if name == "again":
        if text:
            raise CommandError(words("typing.again"))
        return Again(options=options)
    if name == "continue":
        return Continue(text=text, options=options)
    if not text:
        raise CommandError(words("typing.no_text", name=name))
    return Generate(command=name, text=text, options=options)

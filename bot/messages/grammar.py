"""One text grammar for every platform: text <-> Command. Pure.

    /story [--style S] [--length N] [--seed N] [--] TEXT     and the other commands of the cards
    /jewel [--size N|WxH] [--count N] [--negative "..."] [--scale X] [--seed N] [--] TEXT
    /again [options]   /continue [options] [TEXT]
    /styles  /why  /cancel  /queue  /help [COMMAND]
    /privacy  /forget  /report [REASON]  /settings [...]  /admin [...]  /start
    /consent  /withdraw  /mydata  /link [CODE]  /study [on|off]
    /compare [--style S or A,B] [options] [--] [/COMMAND] TEXT     /guess

Text without a slash is a story request as it stands. `--private`, an option without a value, keeps one
request out of the record. Options may stand before the text or after it;
` -- ` ends them, so that a text may begin or end like one. `/story@AnyBot` is `/story`. What phones
make of two hyphens (one dash) is read as two hyphens.

parse(render(command)) == command for every Command whose texts are clean (see cleaning.clean).
"""

import difflib
import re
from dataclasses import dataclass

from bot.messages.normalise import clean, shows
from bot.messages.options import MAX_STYLE, Options, read_options, written
from engine.errors import CommandError, LimitError

DEFAULT_COMMAND = "story"
MAX_REASON = 500  # characters after /report, /settings and /admin
FREE = ("report", "settings", "admin", "link", "study")  # words of any kind may follow
STUDY = ("consent", "withdraw", "mydata", "guess")
BARE = ("styles", "why", "cancel", "queue", "help", "privacy", "forget", "start", *STUDY, *FREE)
RESERVED = ("again", "continue", "compare", *BARE)  # no card may answer these


@dataclass(frozen=True, slots=True, kw_only=True)
class Generate:
    """Ask the experts of a command ("story") for something new."""

    command: str
    text: str
    options: Options = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class Again:
    """The last request once more, with another seed unless one is named."""

    options: Options = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class Continue:
    """Go on from the last answer; `text` is put after it first."""

    text: str = ""
    options: Options = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compare:
    """Two answers to one request of that command, side by side and blinded."""

    command: str
    text: str
    options: Options = Options()


@dataclass(frozen=True, slots=True, kw_only=True)
class Simple:
    """A command without options. `topic` is what follows help, report, settings and admin."""

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
        raise CommandError("Please write something: a story's beginning, or /help.")
    if not text.startswith("/"):
        return _with_options(DEFAULT_COMMAND, text)
    head = _HEAD.match(text)
    name = head["name"].lower() if head else ""
    if head is None or not (name in commands or name in RESERVED):
        raise _unknown(name or text.split(maxsplit=1)[0][1:20], commands)
    rest = text[head.end() :]
    if name in BARE:
        return _simple(name, rest)
    if name == "compare":
        return _compare(rest, commands)
    return _with_options(name, rest)


def _compare(rest: str, commands: tuple[str, ...]) -> Compare:
    """The text may name the command that it is for: "/compare /jewel a ring"."""
    text, options = read_options(rest)
    head = _HEAD.match(text)
    name = DEFAULT_COMMAND
    if head is not None and head["name"].lower() in commands:
        name, text = head["name"].lower(), text[head.end() :].strip()
    if not text:
        raise CommandError(
            "Please say what both should write: /compare followed by a wish, or by a beginning."
        )
    return Compare(command=name, text=text, options=options)


def _simple(name: str, rest: str) -> Simple:
    topic = " ".join(rest.split())
    if name in FREE:
        if len(topic) > MAX_REASON:
            raise LimitError(f"/{name} takes at most {MAX_REASON} characters. Please be brief.")
        return Simple(name=name, topic=topic)
    topic = topic.lstrip("/ ")
    if topic and name not in ("help", "start"):  # Telegram's links put a word after /start
        raise CommandError(f"/{name} takes nothing after it. Please send just /{name}.")
    if len(topic) > MAX_STYLE or "\n" in rest.strip():
        raise CommandError("Please send /help, or /help with one command's name.")
    return Simple(name=name, topic=topic)


def _with_options(name: str, rest: str) -> Command:
    text, options = read_options(rest)
    if name == "again":
        if text:
            raise CommandError("/again repeats your last request. To change it, ask anew.")
        return Again(options=options)
    if name == "continue":
        return Continue(text=text, options=options)
    if not text:
        raise CommandError(f"Please say what you would like: /{name} followed by a few words.")
    return Generate(command=name, text=text, options=options)


def _unknown(name: str, commands: tuple[str, ...]) -> CommandError:
    known = (*commands, *RESERVED)
    near = difflib.get_close_matches(name.lower(), known, n=1)
    hint = f"Did you mean /{near[0]}?" if near else "/help lists what I know."
    return CommandError(f"I do not know /{name}. {hint}")


def render(command: Command) -> str:
    """The text that parses back to the command.

    >>> render(Generate(command="story", text="--dash", options=Options(style="agatha christie")))
    '/story --style "agatha christie" -- --dash'
    """
    match command:
        case Simple(name=name, topic=topic):
            return f"/{name} {topic}".rstrip()
        case Again(options=options):
            return " ".join(["/again", *written(options)])
        case Compare(command=name, text=text, options=options):
            return " ".join(["/compare", *written(options), "--", f"/{name}", text])
        case Continue(text=text, options=options):
            return " ".join(["/continue", *written(options), *(["--", text] if text else [])])
        case Generate(command=name, text=text, options=options):
            plain = " ".join([f"/{name}", *written(options), text])
            try:
                unharmed = parse(plain, (name,)) == command
            except (CommandError, LimitError):
                unharmed = False
            return plain if unharmed else " ".join([f"/{name}", *written(options), "--", text])

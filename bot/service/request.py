"""One command, one reply, on any platform: what a command means, given what was said before."""

import asyncio
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from bot.locales import words
from bot.messages.buttons import Button, Rows
from bot.messages.escape import quoting
from bot.messages.grammar import Again, Continue, Generate
from bot.messages.normalise import MAX_TEXT
from bot.messages.options import Options
from engine import Engine
from engine.characters import well_formed
from engine.errors import AskerError
from engine.events import Picture
from engine.plan.job import Answer, Request, Spot
from engine.plan.memory import condensed
from engine.settings import KEEP_HOURS

LONGEST_WORD = 100  # characters, that a text is cut back by to begin with a whole one
SPOKEN = (
    "platform", "asker", "place", "server", "alone", "conversation", "typed", "address", "borrowed",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Who(Spot):
    """Hold who speaks, where, and what was said as it came.

    `place` is where answers go, and within it "the last answer" is looked for. `reply_to` is the job of
    the answer that is meant instead. A `manager` may manage the place, a `server_manager` the whole
    server or group. `parent` is the channel that a thread stands in, or the group of a topic.
    `borrowed`: the words are a third person's. `address` is the client's own note of where to answer
    after a restart. `hours`: how long words and pictures from there are kept.
    """

    conversation: str | None = None
    typed: str = ""
    reply_to: str | None = None
    manager: bool = False
    server_manager: bool = False
    parent: str = ""
    borrowed: bool = False
    address: str = ""
    hours: int = KEEP_HOURS

    @property
    def account(self) -> tuple[str, str]:
        return self.platform, self.asker

    def __post_init__(self) -> None:
        """Replace halves of pairs, whatever the door they came through: no ledger could keep them."""
        object.__setattr__(self, "typed", well_formed(self.typed))


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply in words, at once.

    `private`: only its asker should see it. `ask` are the answers to choose from. `pictures` are the
    original files, `files` others, by name. `deletes`: the job whose messages go; `replaces`: this
    stands in the place of what was pressed on (`caption`: below the picture that it holds). `start` is
    the command that asks for it in a private chat. `rows` are more choices, in rows of their own.
    `literal`: it holds words of models or people, in which no markup counts. `receipt` is given back
    by the client: to ChatService.arrived once this is shown, to ChatService.missed when it cannot be.
    `typed`: it is answered by typing.
    """

    text: str
    private: bool = False
    ask: tuple[Button, ...] = ()
    pictures: tuple[Picture, ...] = ()
    files: tuple[tuple[str, bytes], ...] = ()
    deletes: str = ""
    replaces: bool = False
    start: str = ""
    rows: Rows = ()
    caption: bool = False
    literal: bool = False
    receipt: str = ""
    typed: bool = False
    kind: Literal["said"] = "said"

    def __post_init__(self) -> None:
        """Make what it quotes of people harmless, on every platform."""
        object.__setattr__(self, "text", quoting(self.text))

    @property
    def choices(self) -> Rows:
        return ((self.ask,) if self.ask else ()) + self.rows


async def request_of(command: Generate | Again | Continue, who: Who, core: Engine) -> Request:
    """Make the request that a command means; Again and Continue look at the last answer."""
    match command:
        case Generate(command=name, text=text, options=options):
            free = command.free and replace(options, style=None, seed=None) == Options(
                private=options.private
            )
            return Request(command=name, text=text, free=free, **asdict(options) | _spoken(who))
        case Again(options=options):
            last = await meant(who, core)
            return _with(replace(last.request, seed=None, parent=last.request_id), options, who)
        case Continue(text=text, options=options):
            last = await meant(who, core)
            if last.job.order is not None:
                raise AskerError(words("talk.picture_ends", who.locale))
            if not last.text:
                raise AskerError(words("talk.no_answer", who.locale))
            so_far = join(opening(last), last.text, text)
            ahead, synopsis = recent(so_far), last.request.synopsis
            if dropped := so_far.removesuffix(ahead):
                synopsis = await asyncio.to_thread(condensed, synopsis, dropped, ahead)
            on = replace(last.request, beginning=ahead, synopsis=synopsis)
            return _with(replace(on, seed=None, parent=last.request_id), options, who)


def _spoken(who: Who) -> dict[str, Any]:
    """Give what a request says of its asker, under the same names."""
    return {name: getattr(who, name) for name in SPOKEN}


def _with(request: Request, options: Options, who: Who) -> Request:
    named = {name: value for name, value in asdict(options).items() if value is not None}
    named |= {} if (request.platform, request.asker) == who.account else {"notes": ()}
    return replace(request, **named | _spoken(who))


def opening(answer: Answer) -> str:
    return answer.job.beginning if (told := answer.request.beginning) is None else told


def recent(text: str) -> str:
    """The end of a text that a model's window can hold, from the beginning of a word.

    >>> len(recent("It rained. " * 9_000)) <= MAX_TEXT, recent("It rained.")
    (True, 'It rained.')
    >>> len(recent("雨" * 24_000 + " a")) == MAX_TEXT
    True
    """
    if len(text) <= MAX_TEXT:
        return text
    end = text[-MAX_TEXT:]
    space = end.find(" ", 0, LONGEST_WORD)  # not every language puts one between words
    return end[space + 1 :]


def join(*pieces: str) -> str:
    """Prose put together, with a space unless punctuation follows.

    >>> join("It rained", ", and rained", "", "Nobody came.")
    'It rained, and rained Nobody came.'
    """
    whole = ""
    for piece in filter(None, (p.strip() for p in pieces)):
        gap = "" if not whole or piece[0] in ",.;:!?…" else " "
        whole += gap + piece
    return whole


def past(who: Who, name: str = "expired") -> AskerError:
    """Make the refusal of what is kept no longer; it says how long that was."""
    return AskerError(words(f"talk.{name}", who.locale, hours=who.hours))


async def meant(who: Who, core: Engine) -> Answer:
    """Find the answer that is meant: the one replied to, else their last. Raises AskerError."""
    if who.reply_to is None:
        found = await core.last(*who.account, who.place)
        if found is None:
            raise past(who, "nothing_before")
    else:
        found = await core.answer(who.reply_to)
        if found is None or found.expired:
            raise past(who)
        if (found.request.platform, found.request.place) != (who.platform, who.place):
            raise AskerError(words("talk.elsewhere", who.locale))
    if found.expired:
        raise past(who)
    return found

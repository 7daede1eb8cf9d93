"""The buttons below an answer. What a press means stands in the button itself, so it survives a restart.

The same string is Discord's custom_id and Telegram's callback_data: `p1:<verb>:<job>[:<argument>]`,
at most 64 bytes, the verb in one letter. It carries no right: who may press is asked at every press.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from bot.locales import words
from bot.messages.draft import Draft
from engine.errors import CommandError
from engine.events import Finished
from engine.plan.cards import Registry
from engine.plan.job import Answer

MAX_BYTES = 64  # Telegram's; Discord takes 100 characters


class Verb(StrEnum):
    """What a press asks for."""

    CONTINUE = "continue"
    AGAIN = "again"
    STYLE = "style"  # without an argument it asks which; with one, again in that style
    WHY = "why"
    UP = "up"
    DOWN = "down"
    CANCEL = "cancel"
    VARY = "vary"
    COUNT = "count"
    ORIGINAL = "original"
    DELETE = "delete"
    REPORT = "report"
    FORGET = "forget"  # the second step of /forget; the "job" is the question's own id
    KEEP = "keep"  # the other answer to it
    CONSENT = "consent"  # an answer to the study's form, whose id is the "job"
    DATA = "data"  # after a withdrawal: keep or delete
    VOTE = "vote"  # on a pair, whose id is the "job": a, b, tie, bad, or the reveal
    BECAUSE = "because"  # why
    GUESS = "guess"  # real or generated, then how sure
    ANSWER = "answer"  # to a questionnaire; the "job" is the enrolment
    BLAME = "blame"  # what was not good about an answer
    MORE = "more"  # another one


_LETTERS = {
    Verb.CONTINUE: "c",
    Verb.AGAIN: "a",
    Verb.STYLE: "s",
    Verb.WHY: "w",
    Verb.UP: "u",
    Verb.DOWN: "d",
    Verb.CANCEL: "x",
    Verb.VARY: "v",
    Verb.COUNT: "n",
    Verb.ORIGINAL: "o",
    Verb.DELETE: "t",
    Verb.REPORT: "r",
    Verb.FORGET: "f",
    Verb.KEEP: "k",
    Verb.CONSENT: "q",
    Verb.DATA: "y",
    Verb.VOTE: "b",
    Verb.BECAUSE: "e",
    Verb.GUESS: "g",
    Verb.ANSWER: "z",
    Verb.BLAME: "l",
    Verb.MORE: "m",
}
_VERBS = {letter: verb for verb, letter in _LETTERS.items()}
# For Discord's DynamicItem, which matches whole custom_ids.
PATTERN = re.compile(
    rf"p1:(?P<verb>[{''.join(_VERBS)}]):(?P<job>[0-7][0-9A-HJKMNP-TV-Z]{{25}})"
    r"(?::(?P<argument>[\w.-]{1,32}))?",
    re.ASCII,
)
# Whoever sees an answer may press these; the others only its asker (deleting: also a manager).
ANYBODY = frozenset({Verb.WHY, Verb.UP, Verb.DOWN, Verb.BLAME, Verb.ORIGINAL, Verb.REPORT})


@dataclass(frozen=True, slots=True)
class Press:
    """One button's meaning. `job` is a ULID; the argument is letters, digits, `_`, `.` and `-`."""

    verb: Verb
    job: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Button:
    """What is seen and what it means. `owner_only`: a press by another than the asker is refused."""

    label: str
    press: Press
    owner_only: bool

    @property
    def data(self) -> str:
        """The custom_id, the callback_data."""
        return encode(self.press)


Rows = tuple[tuple[Button, ...], ...]


def encode(press: Press) -> str:
    """At most 64 bytes. Raises CommandError for a press that no button can hold.

    >>> encode(Press(Verb.STYLE, "01ARZ3NDEKTSV4RRFFQ69G5FAV", "agatha"))
    'p1:s:01ARZ3NDEKTSV4RRFFQ69G5FAV:agatha'
    """
    text = f"p1:{_LETTERS[press.verb]}:{press.job}"
    text += f":{press.argument}" if press.argument else ""
    if not PATTERN.fullmatch(text):
        raise CommandError("A button cannot hold that. Please type it as a command; see /help.")
    return text


def decode(text: str) -> Press:
    """Raises CommandError for what is no button of ours.

    >>> decode("p1:c:01ARZ3NDEKTSV4RRFFQ69G5FAV").verb
    <Verb.CONTINUE: 'continue'>
    """
    found = PATTERN.fullmatch(text)
    if found is None:
        raise CommandError("I do not know this button any more. Please type a command; see /help.")
    return Press(_VERBS[found["verb"]], found["job"], found["argument"] or "")


def button(
    verb: Verb, job: str, argument: str = "", *, label: str = "", locale: str = "en"
) -> Button:
    """A button with its usual label, or with that one."""
    label = label or words(f"buttons.{verb}", locale)
    return Button(label, Press(verb, job, argument), verb not in ANYBODY)


def buttons_for(shown: Draft | Answer, registry: Registry, locale: str = "en") -> Rows:
    """Rows of at most five: Cancel while it runs, then what can be done with the answer there is."""
    job, state, picture = _facts(shown)
    if not job:
        return ()

    def row(*verbs: Verb) -> tuple[Button, ...]:
        return tuple(button(verb, job, locale=locale) for verb in verbs)

    match state:
        case "finished" if picture:
            return (
                row(Verb.AGAIN, Verb.VARY, Verb.COUNT, Verb.ORIGINAL, Verb.WHY),
                row(Verb.UP, Verb.DOWN, Verb.DELETE, Verb.REPORT),
            )
        case "finished":
            styles = [e for e in registry.experts if e.medium == "text"]
            other = (Verb.STYLE,) if len(styles) > 1 else ()
            return (
                row(Verb.CONTINUE, Verb.AGAIN, *other, Verb.WHY),
                row(Verb.UP, Verb.DOWN, Verb.DELETE, Verb.REPORT),
            )
        case "cancelled":
            return (row(*(() if picture else (Verb.CONTINUE,)), Verb.AGAIN, Verb.DELETE),)
        case "failed" | "dead":
            return (row(Verb.AGAIN, Verb.DELETE),)
        case _:
            return (row(Verb.CANCEL),)


def _facts(shown: Draft | Answer) -> tuple[str, str, bool]:
    """(job, state, whether it is a picture)."""
    if isinstance(shown, Answer):
        return shown.job.id, shown.state, shown.job.medium == "image"
    drawn = isinstance(shown.final, Finished) and bool(shown.final.pictures)
    return shown.job, shown.stage, drawn or shown.steps > 0

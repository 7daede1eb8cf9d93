"""The buttons below an answer. What a press means stands in the button itself, so it survives a restart.

The same string is Discord's custom_id and Telegram's callback_data: `p1:<verb>:<job>[:<argument>]`,
at most 64 bytes, the verb in one letter. It carries no right: who may press is asked at every press.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from bot.locales import words
from bot.messages.draft import Draft
from engine.errors import CommandError
from engine.events import Finished
from engine.plan.cards import Registry

MAX_BYTES = 64  # Telegram's; Discord takes 100 characters


class Verb(StrEnum):
    """What a press asks for, and the letter that says so in a button."""

    letter: str

    def __new__(cls, value: str, letter: str) -> Self:
        made = str.__new__(cls, value)
        made._value_, made.letter = value, letter
        return made

    CONTINUE = "continue", "c"
    AGAIN = "again", "a"
    STYLE = "style", "s"  # without an argument it asks which; with one, again in that style
    WHY = "why", "w"
    UP = "up", "u"
    DOWN = "down", "d"
    CANCEL = "cancel", "x"
    VARY = "vary", "v"
    COUNT = "count", "n"
    ORIGINAL = "original", "o"
    DELETE = "delete", "t"
    REPORT = "report", "r"
    FORGET = "forget", "f"  # the second step of /forget; the "job" is the question's own id
    KEEP = "keep", "k"  # the other answer to it
    CONSENT = "consent", "q"  # an answer to the study's form, whose id is the "job"
    DATA = "data", "y"  # after a withdrawal: keep or delete
    VOTE = "vote", "b"  # on a pair, whose id is the "job": a, b, tie, bad, or the reveal
    BECAUSE = "because", "e"  # why
    GUESS = "guess", "g"  # real or generated, then how sure
    ANSWER = "answer", "z"  # to a questionnaire; the "job" is the enrolment
    MORE = "more", "m"  # another one
    TREE = "tree", "j"  # the story's answers
    STEP = "step", "h"  # to another version, which is the "job"
    DROP = "drop", "p"  # a note of a story, by its keyed name


_VERBS = {verb.letter: verb for verb in Verb}
# For Discord's DynamicItem, which matches whole custom_ids.
PATTERN = re.compile(
    rf"p1:(?P<verb>[{''.join(_VERBS)}]):(?P<job>[0-7][0-9A-HJKMNP-TV-Z]{{25}})"
    r"(?::(?P<argument>[\w.-]{1,32}))?",
    re.ASCII,
)
# Whoever sees an answer may press these; the others only its asker (deleting: also a manager).
ANYBODY = frozenset({Verb.WHY, Verb.UP, Verb.DOWN, Verb.ORIGINAL, Verb.REPORT})


@dataclass(frozen=True, slots=True)
class Press:
    """One button's meaning. `job` is a ULID; the argument is letters, digits, `_`, `.` and `-`."""

    verb: Verb
    job: str
    argument: str = ""


@dataclass(frozen=True, slots=True)
class Button:
    """What is seen and what it means."""

    label: str
    press: Press

    @property
    def data(self) -> str:
        return encode(self.press)


Rows = tuple[tuple[Button, ...], ...]


def encode(press: Press) -> str:
    """At most 64 bytes. Raises CommandError for a press that no button can hold.

    >>> encode(Press(Verb.STYLE, "01ARZ3NDEKTSV4RRFFQ69G5FAV", "agatha"))
    'p1:s:01ARZ3NDEKTSV4RRFFQ69G5FAV:agatha'
    """
    text = f"p1:{press.verb.letter}:{press.job}"
    text += f":{press.argument}" if press.argument else ""
    if not PATTERN.fullmatch(text):
        raise CommandError(words("typing.no_button"))
    return text


def decode(text: str) -> Press:
    """Raises CommandError for what is no button of ours.

    >>> decode("p1:c:01ARZ3NDEKTSV4RRFFQ69G5FAV").verb
    <Verb.CONTINUE: 'continue'>
    """
    found = PATTERN.fullmatch(text)
    if found is None:
        raise CommandError(words("typing.old_button"))
    return Press(_VERBS[found["verb"]], found["job"], found["argument"] or "")


def button(
    verb: Verb, job: str, argument: str = "", *, label: str = "", locale: str = "en"
) -> Button:
    label = label or words(f"buttons.{verb}", locale)
    return Button(label, Press(verb, job, argument))


def buttons_for(draft: Draft, registry: Registry, locale: str = "en") -> Rows:
    """Offer Cancel while it runs, then what can be done with the answer; at most five buttons a row."""
    if not draft.job:
        return ()
    final = draft.final
    picture = draft.steps > 0 or (isinstance(final, Finished) and bool(final.pictures))
    judge = (Verb.UP, Verb.DOWN, Verb.DELETE, Verb.REPORT)
    several = sum(expert.medium == "text" for expert in registry.experts) > 1
    rows: tuple[tuple[Verb, ...], ...]
    match draft.stage:
        case "finished" if picture:
            rows = ((Verb.AGAIN, Verb.VARY, Verb.COUNT, Verb.ORIGINAL, Verb.WHY), judge)
        case "finished":
            other = (Verb.STYLE,) if several else ()
            rows = ((Verb.CONTINUE, Verb.AGAIN, *other, Verb.TREE, Verb.WHY), judge)
        case "cancelled":
            rows = ((*(() if picture else (Verb.CONTINUE,)), Verb.AGAIN, Verb.DELETE),)
        case "failed":
            rows = ((Verb.AGAIN, Verb.DELETE),)
        case _:
            rows = ((Verb.CANCEL,),)
    return tuple(tuple(button(v, draft.job, locale=locale) for v in row) for row in rows)

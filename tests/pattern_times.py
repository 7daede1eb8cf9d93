"""Time every pattern of the program, and every function that reads a text of people or models.

`python tests/pattern_times.py` prints a JSON line for each: its worst text, and the CPU milliseconds of
5,000 and of 20,000 characters (estimated where it is fast).
"""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from patterns import Found, Text, filled, found, texts

from engine.errors import PasticheError

PROBE, SHORT, LONG = 1_250, 5_000, 20_000  # characters
FLOOR = 40.0  # milliseconds at LONG; below it nobody waits, whatever the growth
NOTICED = {PROBE: 0.06, SHORT: 1.2}  # milliseconds; less stays below FLOOR, even with the square
RATIO = 5.0  # LONG over SHORT; 4 is linear
SECONDS = (
    0.5  # CPU for one text, or twice RATIO times that of a quarter of it; more is called endless
)
TRIES = 6  # a machine that is busy for a moment makes a linear one slow, but not each time
ENDLESS = float("inf")
EVERY = 1_000_000  # texts; no pattern has a thousand
OWN = (  # for functions that read one thing after the other
    filled("x", " --private", ""), filled("/story ", "--private ", "x"), filled("", "a.b.c.", ""),
    filled("", "\U0001f469\u200d", ""), filled("", "a\u0301\u0301\u0301\u0301\u0301\u0301", ""),
)  # fmt: skip


Run = Callable[[str], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """CPU milliseconds on the worst text; `long` is infinite where it was stopped."""

    place: str
    short: float
    long: float
    text: str

    @property
    def linear(self) -> bool:
        """Whether four times the text takes about four times as long."""
        return self.long < ENDLESS and (self.long <= FLOOR or self.long <= RATIO * self.short)


class _StopError(Exception):
    """A text took longer than SECONDS."""


_armed = False


def _stop(*_: object) -> None:
    if _armed:
        raise _StopError


def milliseconds(run: Run, text: str, before: float = 0.0) -> float:
    """CPU time; infinite if it was stopped, after SECONDS or twice RATIO times what was `before`."""
    global _armed
    signal.setitimer(signal.ITIMER_VIRTUAL, max(SECONDS, 2 * RATIO * before / 1000))
    begun = time.thread_time()  # the process's clock is coarse while a timer runs
    _armed = True
    try:
        run(text)
        _armed = False
    except _StopError:
        return ENDLESS
    finally:
        _armed = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    return 1000 * (time.thread_time() - begun)


def between(run: Run, text: Text) -> tuple[float, float]:
    """Time a text amid four of a quarter of it, so that a busy machine slows both alike."""
    short = [milliseconds(run, text(SHORT)) for _ in range(2)]
    if ENDLESS in short:
        return ENDLESS, ENDLESS
    long = milliseconds(run, text(LONG), max(short))
    short += [milliseconds(run, text(SHORT)) for _ in range(2)]
    return sum(short) / len(short), long


def timed(place: str, run: Run, made: Iterable[Text]) -> Timing:
    """The worst of the texts: one whose time grows too fast, or else the slowest."""
    worst = Timing(place=place, short=0.0, long=0.0, text="")
    for text in made:
        start = text(80)
        first = milliseconds(run, text(PROBE))
        short = _next(run, text, first, PROBE, SHORT)
        long = _next(run, text, short, SHORT, LONG)
        one = Timing(place=place, short=short, long=long, text=start)
        for _ in range(TRIES):
            if one.linear:
                break
            short, long = between(run, text)
            one = Timing(place=place, short=short, long=long, text=start)
            if long == ENDLESS:  # that much slower is no busy machine
                break
        worst = max(worst, one, key=_bad)
        if not worst.linear:
            break
    return worst


def _next(run: Run, text: Text, before: float, length: int, more: int) -> float:
    """The time of a longer text, if what a shorter one took can grow to matter; else a guess."""
    if before == ENDLESS or before < NOTICED[length]:
        return before * more / length
    return milliseconds(run, text(more), before)


def _bad(one: Timing) -> tuple[bool, float]:
    return not one.linear, one.long


def timing(one: Found, seed: int = 1, most: int = EVERY) -> Timing:
    """How long the pattern takes at worst, as it is used, on so many of its texts at most."""

    def run(text: str) -> None:
        given: Any = text.encode() if isinstance(one.pattern.pattern, bytes) else text
        if one.anchored:
            one.pattern.match(given)
        else:
            for _ in one.pattern.finditer(given):
                pass

    made = list(texts(one.pattern, random.Random(seed)))
    return timed(one.place, run, random.Random(seed).sample(made, min(most, len(made))))


def functions() -> Iterator[tuple[str, Run]]:
    """What is made of a text of people or models on its way, by name."""
    from bot.messages import escape, grammar, normalise, split
    from bot.study import blinding
    from bot.telegram_client import updates
    from engine.backends import stop_rules
    from engine.files import BUILT_IN
    from engine.moderation import living_people, rules
    from engine.moderation import normalise as folding
    from engine.plan import memory, prompt, router
    from engine.plan.cards import Registry, Template
    from engine.study.disclosure import scrub

    experts = Registry.load([BUILT_IN], "embedded")
    template = Template().text
    for one in (
        normalise.clean, normalise.shows, escape.defang, escape.discord_text, normalise.language_of_text,
        folding.spellings, living_people.named, living_people._TOUCHY.search,
        rules.find, rules.speaks_of_harming_oneself,
        prompt.split, scrub.find, scrub.suspects, stop_rules.ends_sentence, stop_rules.settled,
    ):  # fmt: skip
        yield one.__name__, one
    yield "parse", grammar.parse
    yield "assemble", lambda text: prompt.assemble(template, text)
    yield "condensed", lambda text: memory.condensed(text, text, text)
    yield "route", lambda text: router.route("story", text, None, experts)
    yield "scrubbed", lambda text: blinding.scrubbed(text, ("H. P. Lovecraft", "Agatha Christie"))
    # short parts, so that four times the text is four times as many
    yield "parts for Discord", lambda text: split.split(text, 200, escape.discord_length)
    yield "parts for Telegram", lambda text: split.split(text, 200, split.utf16)
    yield "addressed", lambda text: updates.addressed(text, "Bot", frozenset(), to_me=False)


def timings(texts_each: int = 12, most: int = EVERY, seed: int = 1) -> Iterator[Timing]:
    """Every pattern on its texts, then every function on so many of all patterns' texts."""
    chance = random.Random(seed)
    hard: list[Text] = []
    for one in found():
        yield timing(one, seed, most)
        hard += texts(one.pattern, random.Random(seed))
    for name, function in functions():

        def run(text: str, function: Run = function) -> None:
            with contextlib.suppress(PasticheError):
                function(text)

        yield timed(name, run, [*OWN, *chance.sample(hard, texts_each)])


def measured(
    *pattern: str, texts_each: int = 12, most: int = EVERY, seconds: float = 300
) -> list[Timing]:
    """What a child process prints, which is ended after so long."""
    done = subprocess.run(
        [sys.executable, __file__, *pattern],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=seconds,
        env={**os.environ, "TEXTS_EACH": str(texts_each), "MOST_TEXTS": str(most)},
    )
    return [Timing(**json.loads(line)) for line in done.stdout.splitlines()]


def main() -> None:
    """Print a line for each timing; with patterns, for these alone."""
    signal.signal(signal.SIGVTALRM, _stop)
    given = [Found(place=one, pattern=re.compile(one, re.IGNORECASE)) for one in sys.argv[1:]]
    texts_each, most = os.environ.get("TEXTS_EACH", "12"), os.environ.get("MOST_TEXTS", str(EVERY))
    every = timings(int(texts_each), int(most))
    for line in map(timing, given) if given else every:
        sys.stdout.write(json.dumps(asdict(line)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

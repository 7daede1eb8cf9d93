"""What a row's own words make less likely or forbid before its next token. Pure but for the tokenizer.

DRY lowers tokens that would go on with a repetition. A banned phrase is barred at the second token of
its last word (the only one, where it has one), once all before it has come: text that was shown is
never taken back, and the first token of a name begins many other words. No closing quotation mark
comes where none is open. From EARLY of the length on, ends of sentences gain.
"""

import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from engine.backends.prompt_window import plain_tokens
from engine.backends.stop_rules import EARLY, NO_END, open_quotes
from engine.plan.cards import Sampling
from engine.plan.job import Job

# llama.cpp's own and curly quotation marks, without its asterisk: "* * *" would be repeated for ever.
BREAKERS = ("\n", ":", '"', "“", "”")
LONGEST_MATCH = 50  # tokens; the penalty grows no further
MOST_GAIN = 6.0  # of a sentence's end, in logits
STOPS = (".", "!", "?", ".”", '."', "!”", "?”")
CLOSERS = ("”", ".”", ",”", "?”", "!”", "—”", "…”")

Entry = tuple[tuple[int, ...], int]  # the tokens before, and the one that may not follow
_STYLE = re.compile(
    r"\bin\s+the\s+(?:style|manner)\s+of(?:\s+(?!(?:about|with|where|for|on)\b)[\w.'’-]+){1,4}",
    re.I,
)


@dataclass(slots=True, eq=False)
class Draw:
    """How a row's token is chosen: `said` is penalised, `banned` impossible, `lowered` in its logits."""

    sampling: Sampling
    generator: random.Random
    said: Sequence[int]
    banned: Sequence[int] = ()
    lowered: Mapping[int, float] = field(default_factory=dict)


def dry(
    tokens: Sequence[int], sampling: Sampling, breaker: Callable[[int], bool]
) -> dict[int, float]:
    """Say what each token loses that would go on with a repetition.

    That is multiplier * base ** (length - allowed) for the longest run of tokens, free of breakers,
    that ends the text and came before that token earlier (p-e-w, oobabooga/text-generation-webui #5677).

    >>> dry([1, 2, 3, 9, 1, 2, 3], Sampling(dry_multiplier=1, dry_allowed_length=3), lambda t: False)
    {9: 1.0}
    >>> dry([1, 2, 3, 9, 1, 2, 3], Sampling(dry_multiplier=1), lambda token: token == 2)
    {}
    """
    lengths: dict[int, int] = {}
    last = tokens[-1] if tokens and not breaker(tokens[-1]) else None
    for place in [p for p, token in enumerate(tokens[:-1]) if token == last]:
        length, most = 1, min(place + 1, LONGEST_MATCH)
        while length < most and tokens[place - length] == tokens[-1 - length]:
            if breaker(tokens[place - length]):
                break
            length += 1
        follower = tokens[place + 1]
        if length >= sampling.dry_allowed_length and not breaker(follower):
            lengths[follower] = max(lengths.get(follower, 0), length)
    base, allowed = sampling.dry_base, sampling.dry_allowed_length
    return {t: sampling.dry_multiplier * base ** (n - allowed) for t, n in lengths.items()}


class Bans:
    def __init__(self, entries: Iterable[Entry]) -> None:
        self._after: dict[int | None, list[Entry]] = {}
        for before, token in entries:
            self._after.setdefault(before[-1] if before else None, []).append((before, token))

    def barred(self, tokens: Sequence[int]) -> list[int]:
        """List them after these tokens.

        >>> bans = Bans([((), 7), ((1, 2), 3)])
        >>> bans.barred([5, 1, 2]), bans.barred([2])
        ([7, 3], [7])
        """
        after = self._after.get(tokens[-1], ()) if tokens else ()
        fitting = (t for before, t in after if tuple(tokens[-len(before) :]) == before)
        return [*(token for _, token in self._after.get(None, ())), *fitting]


@lru_cache(maxsize=4096)
def entries_of(tokenizer: Any, phrase: str) -> tuple[Entry, ...]:
    """Find where a phrase is barred: as it stands and capitalised, amid a line and at its start."""
    words = phrase.split()
    entries: dict[Entry, None] = {}
    for text in (phrase, phrase[:1].upper() + phrase[1:]):
        for lead in (" ", ""):
            ids = plain_tokens(tokenizer, lead + text)
            head = plain_tokens(tokenizer, lead + " ".join(text.split()[:-1]))
            start = len(head) if len(words) > 1 and ids[: len(head)] == head else 0
            last = len(ids) - 1
            cut = min(last, start + 1) if words[-1][0].isalnum() else last
            entries[tuple(ids[:cut]), ids[cut]] = None
    return tuple(entries)


@lru_cache(maxsize=1 << 16)
def breaks(tokenizer: Any, token: int) -> bool:
    text = tokenizer.decode([token])
    return any(mark in text for mark in BREAKERS)


def wanted(bans: Iterable[str], prompt: str) -> list[str]:
    """Leave out the bans that a wish asks for itself, but not those of the style that it names.

    >>> wanted(["Poirot", "Agatha Christie"], "Poirot bakes, in the style of Agatha Christie.")
    ['Agatha Christie']
    """
    asked = _STYLE.sub("", prompt).casefold()
    return [phrase for phrase in bans if phrase.casefold() not in asked]


class RowSampler:
    def __init__(
        self, job: Job, tokenizer: Any, ends: Sequence[int] = (), bans: Sequence[str] = ()
    ) -> None:
        """`ends` are the tokens that end an answer, `bans` the phrases of the expert's card."""
        self.expert = job.expert
        self._sampling, self._length, self._ends = job.sampling, job.length, ends
        self._generator = random.Random(job.seed)
        self._beginning = job.beginning
        phrases = wanted(bans, job.prompt)
        self._bans = Bans(entry for p in phrases for entry in entries_of(tokenizer, p))
        self._closers = Bans(entry for mark in CLOSERS for entry in entries_of(tokenizer, mark))
        stops = [plain_tokens(tokenizer, stop) for stop in STOPS]
        self._stops = {ids[0] for ids in stops if len(ids) == 1}
        self._breaks = lru_cache(maxsize=None)(lambda token: breaks(tokenizer, token))

    def draw(self, tokens: Sequence[int], start: int, text: str) -> Draw:
        """Give the rules for what follows `tokens`; those from `start` on are the answer `text`."""
        sampling, written = self._sampling, len(tokens) - start
        last = min(written, sampling.repetition_last_n or written)
        banned = self._bans.barred(tokens)
        if open_quotes(self._beginning + text) <= 0:
            banned += self._closers.barred(tokens)
        if written < int(self._length * NO_END):
            banned += self._ends
        lowered = dry(tokens, sampling, self._breaks) if sampling.dry_multiplier else {}
        if (over := written - int(self._length * EARLY)) > 0:
            gain = min(MOST_GAIN, sampling.end_gain * over)
            lowered |= {stop: lowered.get(stop, 0.0) - gain for stop in self._stops}
        said = tokens[len(tokens) - last :]
        return Draw(sampling, self._generator, said, banned, lowered)

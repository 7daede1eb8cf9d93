"""Which expert answers, and why: rules that a person can read, then what is nearest in meaning.

The command first limits the candidates to its own experts. Then, in this order:
    forced   the asker named a style (--style)
    style    "in the style of X" in the instruction
    keyword  a card's keyword in the instruction; the longest wins, then card order
    semantic the card whose examples are nearest in meaning, unless that abstains (engine.plan.semantic)
    default  the command's first card
But for `semantic` only the instruction counts, never the story's beginning. Text without a command is
for /story unless it is clearly nearer to another command's card. "In the style of X" with an X that
nobody has is refused where X stands in the style position (in the instruction of a wish, before the
colon or the beginning, or right after "story"); elsewhere it is story text ("she dressed in the style
of her mother").
"""

import difflib
import re
from dataclasses import replace
from functools import lru_cache

from engine.errors import CommandError, StyleError
from engine.plan.cards import Expert, Registry
from engine.plan.prompt import KIND, MAX_INSTRUCTION, names_a_style, split
from engine.plan.route import Candidate, Match, Route
from engine.plan.semantic import LEAVE_MARGIN, NOBODY, Semantic, margin

# X ends where the sentence goes on about something else: "in the style of lovecraft with a murder".
_STYLE_OF = re.compile(
    r"\bin\s+the\s+(?:style|manner)\s+of\s+"
    r"(?P<style>(?:(?!\s(?:with|about|where|and|or|for|but|set|in|on)\s)[^\n:：;,!?—–]){1,64})",
    re.I,
)
_DIRECT = re.compile(rf"(?:^|\b(?:{KIND}|news|something|one))\s*\Z", re.I)
_NEAR = 0.6
READ = 2_000  # characters in which a keyword counts: a long text is known by its beginning


def route(
    command: str,
    text: str,
    style: str | None,
    registry: Registry,
    semantic: Semantic | None = None,
    *,
    free: bool = False,
) -> Route:
    """Choose the expert; `free`: nobody typed the command. Raises CommandError or StyleError."""
    experts = registry.of_command(command)
    if not experts:
        raise CommandError(f"No expert here answers /{command}. Send /styles to see who is here.")
    if style:
        return _route(_forced(style, experts, registry), "forced", (), experts, {})
    parts = split(text)
    instruction = parts.instruction
    hits = _keywords(instruction[:READ], experts)
    if named := _named_style(instruction, parts.wish, experts, registry):
        expert, match = named
        return _route(expert, "style", (match,), experts, hits)
    if hits:
        best = max(
            experts, key=lambda e: max((m.end - m.start for m in hits.get(e.name, ())), default=0)
        )
        return _route(best, "keyword", hits[best.name], experts, hits)
    chosen = _route(experts[0], "default", (), experts, hits)
    pool = registry.experts if free else experts
    if semantic is None or len(pool) == 1:
        return chosen
    return _by_meaning(replace(chosen, nearest=semantic.nearest(text, pool)), experts, registry)


def _by_meaning(default: Route, experts: tuple[Expert, ...], registry: Registry) -> Route:
    found = default.nearest
    if not found or found[0].expert == NOBODY:
        return default
    best = registry[found[0].expert]
    if best not in experts and margin(found) < LEAVE_MARGIN:
        return default
    others = registry.of_command(best.command)
    return replace(_route(best, "semantic", (), others, {}), nearest=found)


def _route(
    expert: Expert,
    rule: str,
    evidence: tuple[Match, ...],
    experts: tuple[Expert, ...],
    hits: dict[str, tuple[Match, ...]],
) -> Route:
    others = [
        Candidate(expert=e.name, matches=hits.get(e.name, ())) for e in experts if e != expert
    ]
    others.sort(key=lambda c: -max((m.end - m.start for m in c.matches), default=0))
    return Route(expert=expert.name, rule=rule, evidence=evidence, runners_up=tuple(others))


@lru_cache(maxsize=256)
def _pattern(alias: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){_loosely(alias)}(?!\w)", re.I)


def _loosely(words: str) -> str:
    return r"\s*".join(re.escape(word).replace(r"\.", r"\.?") for word in words.split())


def _keywords(instruction: str, experts: tuple[Expert, ...]) -> dict[str, tuple[Match, ...]]:
    pattern, owners = _vocabulary(tuple((e.name, e.keywords) for e in experts))
    found: dict[str, list[Match]] = {}
    for hit in pattern.finditer(instruction):
        words, start = hit["word"], hit.start("word")
        for name in owners.get(_spelling(words), ()):
            match = Match(words=words, start=start, end=start + len(words))
            found.setdefault(name, []).append(match)
    return {
        name: tuple(sorted(matches, key=lambda m: (m.start - m.end, m.start)))
        for name, matches in found.items()
    }


@lru_cache(maxsize=16)
def _vocabulary(
    keywords: tuple[tuple[str, tuple[str, ...]], ...],
) -> tuple[re.Pattern[str], dict[str, tuple[str, ...]]]:
    """One pattern that finds the longest keyword at every word's start, and whose each is."""
    owners: dict[str, tuple[str, ...]] = {}
    for name, words in keywords:
        for word in words:
            owners[_spelling(word)] = (*owners.get(_spelling(word), ()), name)
    every = sorted({w for _, words in keywords for w in words}, key=len, reverse=True)
    choice = "|".join(_loosely(word) for word in every) or "(?!)"
    return re.compile(rf"(?<!\w)(?=(?P<word>{choice})(?!\w))", re.I), owners


def _spelling(words: str) -> str:
    """What is left of a keyword when case, spaces and dots do not count."""
    return re.sub(r"[\s.]+", "", words).casefold()


def _named_style(
    instruction: str, asks: bool, experts: tuple[Expert, ...], registry: Registry
) -> tuple[Expert, Match] | None:
    """The first "in the style of X" whose X is an expert; an unknown X is refused or passed over."""
    unknown = None
    for phrase in _STYLE_OF.finditer(instruction[:MAX_INSTRUCTION]):
        wanted, start = phrase["style"], phrase.start("style")
        found = [
            (hit.start(), -len(hit[0]), expert.order, expert, hit.end())
            for expert in experts
            for alias in expert.aliases
            if (hit := _pattern(alias).search(wanted))
        ]
        if found:
            *_, expert, end = min(found, key=lambda hit: hit[:3])
            words = instruction[phrase.start() : start + end]
            return expert, Match(words=words, start=phrase.start(), end=start + end)
        before = instruction[: phrase.start()]
        position = asks or _DIRECT.search(before[-40:])
        if unknown is None and position and names_a_style(instruction, phrase.start(), phrase[0]):
            unknown = wanted.strip(" .,'\"“”’")
    if unknown and any(expert.medium == "text" for expert in experts):
        raise _unknown_style(unknown, experts, registry)
    return None


def _forced(style: str, experts: tuple[Expert, ...], registry: Registry) -> Expert:
    for expert in experts:
        if any(_pattern(alias).fullmatch(style.strip()) for alias in expert.aliases):
            return expert
    raise _unknown_style(style.strip(), experts, registry)


def _unknown_style(style: str, experts: tuple[Expert, ...], registry: Registry) -> StyleError:
    shown = style if len(style) <= 40 else style[:39] + "…"
    for other in registry.experts:
        if other not in experts and any(_pattern(a).fullmatch(style) for a in other.aliases):
            return StyleError(f"{other.title} answers /{other.command}; please ask there.")
    names = {alias.casefold(): e.name for e in experts for alias in e.aliases}
    near = difflib.get_close_matches(style.casefold(), names, n=2, cutoff=_NEAR)
    nearest = list(dict.fromkeys(names[n] for n in near))
    known = ", ".join(e.name for e in experts)
    if nearest:
        return StyleError(
            f"I have no style “{shown}”. Did you mean {' or '.join(nearest)}? I know: {known}."
        )
    return StyleError(f"I have no style “{shown}”. I know: {known}. Leave it out and I choose.")

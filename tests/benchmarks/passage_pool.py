"""The pool of /guess: how far its surface tells it, and the making of a new one.

Real passages are cut out of texts, and an expert goes on from the same places, so that both kinds are
about the same things. What was made is kept in a file of candidates, from which a run that was broken
off goes on; the pool is the pairs that are closest in length and punctuation. Without texts the shipped
pool is measured.
"""

import argparse
import asyncio
import json
import random
import re
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

from engine import Engine
from engine.errors import CommandError
from engine.events import Failed, Finished
from engine.moderation import Action, Content, Stage
from engine.moderation.chain import usual
from engine.plan.cards import Expert
from engine.plan.job import Request
from engine.process.bootstrap import ReconnectingEngine
from engine.settings import Settings
from engine.study.experiments.passages import Item, read_items, shipped
from tests.benchmarks.figures import Figure
from tests.benchmarks.sentences import sentences_of
from tests.benchmarks.surface import classified, matched
from tests.following import events_of

FEWEST, MOST = 55, 110  # words of a passage
LENGTH = 150  # tokens, which make so many words
AT_ONCE = 6  # passages in a batch
COPIED = 8  # words in a row that show that a text was learnt by heart
MOST_LETTERS = 1400  # as the table of items takes them
MOST_SHARE = 0.6  # of a pool that may be shipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Hold a passage of a real text, and the sentence before it."""

    title: str
    opening: str
    text: str


def passage(sentences: Iterable[str], most: int = MOST) -> str:
    """Take the first sentences that make a passage; empty if too few do, or if they repeat themselves.

    >>> passage(["Too short."])
    ''
    """
    kept: list[str] = []
    for sentence in sentences:
        if len(" ".join([*kept, sentence]).split()) > most:
            break
        kept.append(sentence)
    text = " ".join(kept)
    words = text.split()
    if len(words) < FEWEST or len({w.lower() for w in words}) < 0.5 * len(words):
        return ""
    return text if len(text) <= MOST_LETTERS else ""


def cuts(paths: Iterable[Path], seed: int) -> list[Cut]:
    """Cut every passage there is out of texts whose first line is the title, in an order by the seed.

    Raises CommandError for a file that cannot be read.
    """
    draw, found = random.Random(seed), []
    for path in paths:
        try:
            title, _, text = path.read_text(encoding="utf-8-sig").partition("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"{path} cannot be read: {error}.") from None
        for paragraph in text.split("\n\n"):
            rest = list(sentences_of(paragraph))
            while len(rest) > 1:
                opening, text_of = rest[0], passage(rest[1:], draw.randint(FEWEST + 5, MOST))
                if text_of:
                    found.append(Cut(title=title.strip(), opening=opening, text=text_of))
                rest = rest[1 + max(1, len(list(sentences_of(text_of)))) :]
    draw.shuffle(found)
    return found


def windows(paths: Iterable[Path]) -> list[Cut]:
    """List every passage that begins with any sentence and ends with any: more to match with."""
    found: dict[str, Cut] = {}
    for path in paths:
        title, _, text = path.read_text(encoding="utf-8-sig").partition("\n")
        for paragraph in text.split("\n\n"):
            lines = list(sentences_of(paragraph))
            for start in range(len(lines)):
                for most in range(FEWEST, MOST + 1):
                    if text_of := passage(lines[start:], most):
                        found.setdefault(
                            text_of, Cut(title=title.strip(), opening="", text=text_of)
                        )
    return list(found.values())


async def generated(
    settings: Settings,
    name: str,
    places: Mapping[int, Cut],
    texts: Iterable[Path],
) -> AsyncIterator[tuple[int, Item]]:
    """Let an expert go on from each place, its number the seed; it must not repeat the texts.

    Raises CommandError where it writes none here.
    """
    async with ReconnectingEngine(settings) as core:
        expert = core.registry.named(name)
        if expert is None or expert.medium != "text":
            names = ", ".join(e.name for e in core.registry.experts if e.medium == "text")
            raise CommandError(f"There is no expert {name!r} of texts; there are {names}.")
        learnt = {run for path in texts for run in runs(path.read_text(encoding="utf-8-sig"))}
        waiting = list(places.items())
        for start in range(0, len(waiting), AT_ONCE):
            batch = waiting[start : start + AT_ONCE]
            found = await asyncio.gather(*(_written(core, expert, *one) for one in batch))
            for (number, _), made in zip(batch, found, strict=True):
                if made is not None and not learnt & set(runs(made.text)):
                    yield number, made


def runs(text: str) -> Iterator[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return (tuple(words[n : n + COPIED]) for n in range(len(words) - COPIED + 1))


async def harmless(text: str) -> bool:
    verdict = await usual().check(Stage.OUTPUT_TEXT, Content(text=text))
    return verdict.action is Action.ALLOW


async def finished(core: Engine, request: Request, what: str) -> Finished:
    """Await an answer, and take it as delivered. Raises CommandError, about `what`, where none comes."""
    why = "nothing came."
    async with aclosing(events_of(core, request)) as events:
        async for event in events:
            if isinstance(event, Finished):
                await core.delivered(event.job)
                return event
            why = event.message if isinstance(event, Failed) else why
    raise CommandError(f"{what}: {why}")


async def _written(core: Engine, expert: Expert, seed: int, place: Cut) -> Item | None:
    request = Request(
        command=expert.command,
        text=place.opening,
        style=expert.name,
        length=LENGTH,
        seed=seed,
        platform="study",
        asker="items",
        place=f"items {seed % AT_ONCE}",
        private=True,
    )
    event = await finished(core, request, f"{expert.name} does not write here")
    text = passage(sentences_of(event.text))
    return _item(expert, text, event, seed) if text and await harmless(text) else None


def _item(expert: Expert, text: str, event: Finished, seed: int) -> Item:
    base, adapter = event.base_digest[:23], event.adapter_digest[:23] or "none"
    return Item(
        kind="generated",
        expert=expert.name,
        text=text,
        source=f"written by {expert.title}'s expert (base {base}, adapter {adapter}, seed {seed})",
        licence=f"generated by this program; weights under {expert.rights.licence}"[:300],
    )


def real_items(places: Iterable[Cut], expert: str, source: str, licence: str) -> list[Item]:
    of = {"kind": "real", "expert": expert, "licence": licence}
    return [
        Item.model_validate(
            {**of, "text": cut.text, "source": source.replace("{title}", cut.title)}
        )
        for cut in places
    ]


def matched_pool(
    real: Sequence[Item], candidates: Sequence[Item], count: int
) -> tuple[list[Item], str]:
    """Choose the pairs that are closest in surface, and tell what came of it. Raises CommandError."""
    kinds = [item.text for item in real], [item.text for item in candidates]
    pairs = matched(*kinds, count)
    pool = [item for a, b in pairs for item in (real[a], candidates[b])]
    share = classified(*([i.text for i in pool[side::2]] for side in (0, 1)))
    told = (
        f"{len(pairs)} passages of each kind; length and punctuation alone tell {share:.1%} right; "
        f"{len(candidates) - len(pairs)} of {len(candidates)} generated ones were set aside to match."
    )
    if len(pairs) < count or share > MOST_SHARE:
        raise CommandError(f"No pool yet: {told} At most {MOST_SHARE:.0%} may be; raise --tries.")
    return pool, told


def written(items: Iterable[Item]) -> str:
    lines: list[str] = []
    for item in items:
        lines.append("[[item]]")
        fields = item.model_dump().items()
        lines += [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in fields]
        lines.append("")
    return "\n".join(lines)


OPTIONS = argparse.ArgumentParser(prog="passage_pool", description=__doc__)
OPTIONS.add_argument("texts", nargs="*", type=Path, help="real texts, each with its title first")
OPTIONS.add_argument(
    "--out", type=Path, default=Path("pool"), help="a folder; what is there is gone on with"
)
OPTIONS.add_argument("--expert", default="lovecraft")
OPTIONS.add_argument(
    "--source", default="{title}", help="of the real ones; {title} is each text's own"
)
OPTIONS.add_argument("--licence", default="public domain")
OPTIONS.add_argument("--count", type=int, default=100, help="passages of each kind")
OPTIONS.add_argument("--tries", type=int, default=300, help="places that the expert goes on from")


def run(_folder: Path, options: argparse.Namespace | None = None) -> list[Figure]:
    """Raises CommandError for a pool that could be told by its surface."""
    if options is not None and options.texts:
        make(options)
        pool = read_items((options.out / "pool.toml").read_text(encoding="utf-8"), "pool.toml")
    else:
        pool = shipped()
    kinds = [[item.text for item in pool if item.kind == kind] for kind in ("real", "generated")]
    share = classified(*kinds)
    return [
        Figure(name="passages", value=len(pool), unit="", against="200"),
        Figure(name="told right by the surface", value=100 * share, unit="%", against="60"),
    ]


def make(options: argparse.Namespace) -> None:
    places = cuts(options.texts, seed=1)
    options.out.mkdir(parents=True, exist_ok=True)
    kept = options.out / "candidates.toml"
    had = kept.read_text(encoding="utf-8") if kept.exists() else ""
    first = max((int(n) + 1 for n in re.findall(r"seed (\d+)\)", had)), default=0)
    left = dict(list(enumerate(places))[first : options.tries])

    async def write() -> None:
        with kept.open("a", encoding="utf-8") as file:
            made = generated(Settings(), options.expert, left, options.texts)
            async for number, item in made:
                file.write(written([item]) + "\n")
                file.flush()
                sys.stderr.write(f"{number} of {options.tries}\n")

    if left:
        asyncio.run(write())
    candidates = read_items(kept.read_text(encoding="utf-8"), kept.name)
    real = real_items(windows(options.texts), options.expert, options.source, options.licence)
    pool, told = matched_pool(real, candidates, options.count)
    (options.out / "pool.toml").write_text(f"# {told}\n\n{written(pool)}", encoding="utf-8")
    sys.stderr.write(f"{options.out / 'pool.toml'}: {told}\n")

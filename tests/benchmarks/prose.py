"""Ways of sampling, compared on the built-in experts as the bot serves them.

    python -m tests.benchmarks prose --way "repetition_penalty=1.1" --way "dry_multiplier=0.8 min_p=0.05"

Ways are compared on every second wish and opening; --reported takes the others, for the way that was
chosen on the first. Perplexity is that of the base alone, which wrote none of it. With --corpora (a
folder of texts an author) a classifier says whose manner a text is in.
"""

import argparse
import asyncio
import csv
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.backends.stop_rules import open_quotes
from engine.backends.text import TextBackend
from engine.events import Finished
from engine.files import BUILT_IN
from engine.plan.cards import Expert, Registry, Sampling
from engine.plan.job import Job
from engine.plan.prompt import assemble
from engine.settings import Settings
from engine.weights import conversion
from tests.benchmarks.figures import Figure, clock
from training.run.evaluation import table
from training.text.evaluation.diversity import SENTENCE, diversity_of
from training.text.evaluation.prompts import OPENINGS, STORY_WISH

OPTIONS = argparse.ArgumentParser(
    prog="prose", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
)
OPTIONS.add_argument("--way", action="append", default=[], help="keys of [sampling]")
OPTIONS.add_argument("--expert", action="append", default=[], help="(lovecraft and agatha)")
OPTIONS.add_argument("--home", type=Path, help="a PASTICHE_HOME that has the base (a new one)")
OPTIONS.add_argument("--corpora", type=Path, help="a folder of texts for each expert, by its name")
OPTIONS.add_argument(
    "--samples", type=int, default=20, help="wishes, and half as many openings (20)"
)
OPTIONS.add_argument("--length", type=int, default=160, help="tokens (160)")
OPTIONS.add_argument("--reported", action="store_true", help="the other half of the texts")
OPTIONS.add_argument("--show", type=int, default=0, help="print so many texts of each")
WISHES = Path("docs/evaluation/wishes.tsv")
BASE = "smollm2-135m-instruct"
HEAD = (
    "expert", "way", "repeated 4-grams", "distinct pairs", "own style", "perplexity",
    "subject words", "unbalanced quotes", "end with a sentence", "CPU s",
)  # fmt: skip


def run(folder: Path, options: argparse.Namespace) -> list[Figure]:
    """Print a table; there is nothing to keep that another machine would repeat."""
    home = options.home or folder
    conversion.prepare(BASE, home / "models")
    registry = Registry.load([BUILT_IN], "embedded")
    judge = _judge(options.corpora) if options.corpora else None
    scorer = _scorer(home / "models" / BASE)
    rows = []
    for name in options.expert or ["lovecraft", "agatha"]:
        for way in options.way or [""]:
            expert = registry[name]
            with clock() as taken:
                texts, subjects = asyncio.run(
                    _written(home, registry, expert, _way(way, expert.sampling), options)
                )
            counted, asked = map(sum, zip(*map(_heard, texts, subjects), strict=True))
            variety = diversity_of(texts)
            rows.append([
                name, way or "as on the card", f"{variety.repeated_4:.2%}", f"{variety.distinct_2:.3f}",
                f"{judge.shares(texts).get(name, 0):.0%}" if judge else "", f"{scorer(texts):.1f}",
                f"{counted} of {asked}", f"{sum(map(_unbalanced, texts))} of {len(texts)}",
                f"{sum(not t.rstrip('”' + chr(34)).endswith('…') for t in texts)} of {len(texts)}",
                f"{taken.cpu:.0f}",
            ])  # fmt: skip
            print("|", " | ".join(rows[-1]), "|", flush=True)
            for text in texts[: options.show]:
                print("   ", text.replace("\n", " / "), flush=True)
    print(table(HEAD, rows))
    return []


def _way(words: str, usual: Sampling) -> Sampling:
    """The card's own, with "key=value key=value" in their place."""
    pairs = [pair.partition("=")[::2] for pair in words.split()]
    return replace(usual, **{key: type(getattr(usual, key))(value) for key, value in pairs})


async def _written(
    home: Path, registry: Registry, expert: Expert, sampling: Sampling, options: argparse.Namespace
) -> tuple[list[str], list[list[str]]]:
    """Answers to wishes and openings, all in one batch, with the wishes' subject words."""
    with WISHES.open(encoding="utf-8") as file:
        read = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    half = read[1 + options.reported :: 2][: options.samples]
    asked = [(wish, subjects.split(", ")) for _, wish, subjects in half]
    openings = OPENINGS[options.reported :: 2][: options.samples // 2]
    asked += [(STORY_WISH + opening, []) for opening in openings]
    backend = TextBackend(Settings(home=home, threads=1), registry)

    async def answer(number: int, text: str) -> str:
        prompt, head = assemble(expert.template.text, text)
        job = Job(
            id=f"j{number}", request="r", expert=expert.name, medium="text", prompt=prompt, head=head,
            length=options.length, seed=number, sampling=sampling,
        )  # fmt: skip
        events = [event async for event in backend.generate(job, threading.Event())]
        assert isinstance(events[-1], Finished)
        return events[-1].text

    texts = await asyncio.gather(*(answer(n, text) for n, (text, _) in enumerate(asked)))
    return list(texts), [subjects for _, subjects in asked]


def _heard(text: str, subjects: Sequence[str]) -> tuple[int, int]:
    """How many subject words come back after the first sentence, as words or stems, of how many."""
    found = SENTENCE.search(text)
    rest = text[found.end() :].lower() if found else ""
    return sum(bool(re.search(rf"\b{re.escape(w.lower())}", rest)) for w in subjects), len(subjects)


def _unbalanced(text: str) -> bool:
    return any(open_quotes(part) or part.count('"') % 2 for part in text.split("\n"))


def _judge(corpora: Path) -> Any:
    """A classifier of the authors' manners, every sixth work held out."""
    from training.sources.text_folder import FolderSource
    from training.text.evaluation import style

    works = {
        {"christie": "agatha"}.get(folder.name, folder.name): list(
            FolderSource(folder, "", "").works()
        )
        for folder in sorted(corpora.iterdir())
        if folder.is_dir() and any(folder.glob("*.txt"))
    }
    train = {
        name: [w for n, w in enumerate(own) if n % 6 or len(own) < 6] for name, own in works.items()
    }
    fitted = style.fit(train, {name: own[::6] for name, own in works.items()}, 42)
    print("own style of held-out text:", {n: round(c, 2) for n, c in fitted.ceiling.items()})
    return fitted


def _scorer(base: Path) -> Any:
    """Perplexity of texts under the base alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from training.text.data.blocks import pack
    from training.text.data.works import Work
    from training.text.evaluation.scores import score

    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base)

    def perplexity(texts: Sequence[str]) -> float:
        works = [Work(id="t", title="", source="", paragraphs=(text,)) for text in texts]
        return score(model, tokenizer, list(pack(works, tokenizer, 512))).perplexity

    return perplexity

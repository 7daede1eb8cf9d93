"""Ways of sampling, compared on the built-in experts as the bot serves them.

    python -m tests.benchmarks prose --way "repetition_penalty=1.1" --way "dry_multiplier=0.8 min_p=0.05"

Ways are compared on every second wish and opening; --reported takes the others, for the way that was
chosen on the first. Perplexity is that of the base alone, which wrote none of it. With --corpora (a
folder of texts an author) a classifier says whose manner a text is in. The way "before": until DRY came.
"""

import argparse
import asyncio
import csv
import random
import re
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.backends import stop_rules
from engine.backends.row_sampler import Draw, RowSampler
from engine.backends.text import TextBackend
from engine.backends.text_answer import TextAnswer
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
OPTIONS.add_argument("--draw", type=int, help="take wishes by this seed, and no openings")
OPTIONS.add_argument("--pairs", type=Path, help="write two ways' texts, unnamed; .key says which")
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
    rows, written, asked = [], {}, _asked(options)
    for name in options.expert or ["lovecraft", "agatha"]:
        for way in options.way or [""]:
            expert = registry[name]
            with clock() as taken:
                kind = _BackendBefore if way == "before" else TextBackend
                backend = kind(Settings(home=home, threads=1), registry)
                sampling = _way(way, expert.sampling)
                texts = asyncio.run(_written(backend, expert, sampling, asked, options.length))
            written[name, way or "card"] = texts
            counted, of = map(sum, zip(*map(_heard, texts, [s for _, s in asked]), strict=True))
            variety = diversity_of(texts)
            rows.append([
                name, way or "as on the card", f"{variety.repeated_4:.2%}", f"{variety.distinct_2:.3f}",
                f"{judge.shares(texts).get(name, 0):.0%}" if judge else "", f"{scorer(texts):.1f}",
                f"{counted} of {of}", f"{sum(map(_unbalanced, texts))} of {len(texts)}",
                f"{sum(not t.rstrip('”' + chr(34)).endswith('…') for t in texts)} of {len(texts)}",
                f"{taken.cpu:.0f}",
            ])  # fmt: skip
            print("|", " | ".join(rows[-1]), "|", flush=True)
            for text in texts[: options.show]:
                print("   ", text.replace("\n", " / "), flush=True)
    print(table(HEAD, rows))
    if options.pairs:
        _write_pairs(options.pairs, asked, written, options.draw)
    return []


def _way(words: str, usual: Sampling) -> Sampling:
    """The card's own, with "key=value key=value" in their place."""
    if words == "before":
        return Sampling(repetition_penalty=1.1)
    pairs = [pair.partition("=")[::2] for pair in words.split()]
    return replace(usual, **{key: type(getattr(usual, key))(value) for key, value in pairs})


def _asked(options: argparse.Namespace) -> list[tuple[str, list[str]]]:
    with WISHES.open(encoding="utf-8") as file:
        read = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    half, openings = read[1 + options.reported :: 2], OPENINGS[options.reported :: 2]
    if options.draw is not None:
        half, openings = random.Random(options.draw).sample(half, len(half)), ()
    asked = [(wish, subjects.split(", ")) for _, wish, subjects in half[: options.samples]]
    return asked + [(STORY_WISH + text, []) for text in openings[: options.samples // 2]]


def _write_pairs(path: Path, asked: Any, written: dict[Any, list[str]], seed: int) -> None:
    draw, page, key = random.Random(seed), list[str](), list[str]()
    names, ways = (list(dict.fromkeys(said)) for said in zip(*written, strict=True))
    pairs = [(name, n) for name in names for n in range(len(asked))]
    for number, (name, n) in enumerate(draw.sample(pairs, len(pairs)), 1):
        sides = draw.sample(ways, 2)
        page.append(f"## {number}\n\nWish: {asked[n][0]}\n")
        page += [f"### {s}\n\n{written[name, w][n]}\n" for s, w in zip("AB", sides, strict=True)]
        key.append("\t".join((str(number), name, *sides)) + "\n")
    path.write_text("\n".join(page), encoding="utf-8")
    path.with_suffix(".key").write_text("".join(key), encoding="utf-8")


async def _written(
    backend: TextBackend, expert: Expert, sampling: Sampling, asked: Sequence[Any], length: int
) -> list[str]:
    """Answers to wishes and openings, all in one batch."""

    async def answer(number: int, text: str) -> str:
        prompt, head = assemble(expert.template.text, text)
        job = Job(
            id=f"j{number}", request="r", expert=expert.name, medium="text", prompt=prompt, head=head,
            length=length, seed=number, sampling=sampling,
        )  # fmt: skip
        events = [event async for event in backend.generate(job, threading.Event())]
        assert isinstance(events[-1], Finished)
        return events[-1].text

    return await asyncio.gather(*(answer(n, text) for n, (text, _) in enumerate(asked)))


class _BackendBefore(TextBackend):
    def _step(self) -> None:
        for resident in self._bases.values():
            for row in resident.mixer._waiting:
                row.answer = _AnswerBefore(row.job, row.notes)
                row._sampler = _SamplerBefore(row.job, row.tokenizer, row.ends)
        super()._step()


class _SamplerBefore(RowSampler):
    def draw(self, tokens: Sequence[int], start: int, text: str) -> Draw:
        early = len(tokens) - start < int(self._length * stop_rules.NO_END)
        return Draw(self._sampling, self._generator, tokens, self._ends if early else ())


class _AnswerBefore(TextAnswer):
    @property
    def complete(self) -> bool:
        return bool(self._end())

    def finished(self, *told: Any) -> Finished:
        return replace(super().finished(*told), text=self._end() or self.text.strip())

    def _end(self) -> str:
        """Give the text as it ends here: not amid a quotation, and a cut one is left open."""
        late = self.tokens >= stop_rules.latest(self.job.length)
        early = self.tokens >= self.job.length * stop_rules.EARLY
        for text in [stop_rules._words(self.text)] * early + [f"{self.text} "] * late:
            open_ = text.count("“") > text.count("”") or text.rsplit("\n", 1)[-1].count('"') % 2
            if not open_ and stop_rules.ends_sentence(text, late=True):
                return text.strip()
        return f"{stop_rules.settled(self.text)}…" if late else ""


def _heard(text: str, subjects: Sequence[str]) -> tuple[int, int]:
    """How many subject words come back after the first sentence, as words or stems, of how many."""
    found = SENTENCE.search(text)
    rest = text[found.end() :].lower() if found else ""
    return sum(bool(re.search(rf"\b{re.escape(w.lower())}", rest)) for w in subjects), len(subjects)


def _unbalanced(text: str) -> bool:
    return any(stop_rules.open_quotes(part) or part.count('"') % 2 for part in text.split("\n"))


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

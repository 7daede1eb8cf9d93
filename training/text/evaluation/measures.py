"""All measures of an evaluation, as plain values for run.json and the report."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.backends.prompt_window import plain_tokens
from training.run.schedule import spread
from training.text.evaluation.delta import Delta
from training.text.evaluation.diversity import diversity_of
from training.text.evaluation.generation import generate
from training.text.evaluation.memory import TrainingText, extract
from training.text.evaluation.prompts import prompts_for, report_prompt
from training.text.evaluation.scores import BASE, score, wearing
from training.text.evaluation.style import StyleClassifier, chunks_of
from training.text.evaluation.subject import Author

PREFIXES = 20  # blocks a split, for extraction
SIDE_BY_SIDE = 3
Told = Callable[[str], None]
Values = dict[str, Any]


@dataclass
class Measures:
    authors: Sequence[Author]
    model: Any
    tokenizer: Any
    told: Told

    def matrix(self, blocks: int) -> Values:
        """Score base and every expert (rows) on every author's held-out blocks (columns)."""
        rows: Values = {}
        for name in (BASE, *(author.name for author in self.authors)):
            row: Values = {}
            for author in self.authors:
                self.told(f"perplexity of {name} on {author.name}")
                with wearing(self.model, name):
                    found = score(self.model, self.tokenizer, author.blocks("test", blocks))
                row[author.name] = {
                    "perplexity": found.perplexity,
                    "interval": found.interval(),
                    "bits_per_byte": found.bits_per_byte,
                    "blocks": len(found.nats),
                    "tokens": sum(found.tokens),
                }
            rows[name] = row
        return rows

    def samples(self, count: int, length: int, seed: int) -> dict[str, dict[str, list[str]]]:
        written: dict[str, dict[str, list[str]]] = {}
        for author in self.authors:
            prompts = prompts_for(author.card.command, author.card.template.text, count)
            written[author.name] = {
                name: self.write(name, prompts, author, length, seed)
                for name in (BASE, author.name)
            }
        return written

    def side_by_side(self, length: int, seed: int) -> dict[str, list[dict[str, str]]]:
        """Answer the source report's prompt by base and expert, from three seeds."""
        pairs: dict[str, list[dict[str, str]]] = {}
        for author in self.authors:
            prompt = report_prompt(author.card.template.text, author.card.title)
            prompts = [prompt] * SIDE_BY_SIDE
            base, own = (
                self.write(name, prompts, author, length, seed + 1) for name in (BASE, author.name)
            )
            pairs[author.name] = [{"base": a, "expert": b} for a, b in zip(base, own, strict=True)]
        return pairs

    def write(
        self, name: str, prompts: list[str], author: Author, length: int, seed: int
    ) -> list[str]:
        self.told(f"{len(prompts)} samples of {name} for {author.name}")
        with wearing(self.model, name):
            return generate(self.model, self.tokenizer, prompts, author.card, seed, length)

    def style(self, classifier: StyleClassifier, samples: Values) -> Values:
        return {
            author: {writer: classifier.shares(texts) for writer, texts in written.items()}
            for author, written in samples.items()
        }

    def delta(self, samples: Values) -> Values:
        delta = Delta({a.name: "\n".join(work.text for work in a.train) for a in self.authors})
        return {
            author: {
                writer: {a.name: delta.to(a.name, "\n".join(texts)) for a in self.authors}
                for writer, texts in written.items()
            }
            for author, written in samples.items()
        }

    def memory(self, samples: Values) -> Values:
        """Find verbatim runs in an expert's samples, with real unseen text beside, and extract."""
        found: Values = {}
        for author in self.authors:
            self.told(f"memorisation of {author.name}")
            train = TrainingText([plain_tokens(self.tokenizer, w.text) for w in author.train])
            texts = [plain_tokens(self.tokenizer, t) for t in samples[author.name][author.name]]
            length = max(map(len, texts))
            unseen = [b.tokens[1 : length + 1] for b in author.blocks("test", len(texts))]
            found[author.name] = {
                "samples": recitation(train, texts),
                "unseen_text": recitation(train, unseen),
                "extraction": self.extraction(author),
            }
        return found

    def extraction(self, author: Author) -> Values:
        """Continue 50-token prefixes greedily, by expert and base, seen and unseen."""
        found: Values = {}
        for name in (BASE, author.name):
            with wearing(self.model, name):
                found["base" if name == BASE else "expert"] = {
                    split: extract(self.model, author.blocks(split, PREFIXES))
                    for split in ("train", "test")
                }
        return found


def recitation(train: TrainingText, texts: Sequence[Sequence[int]]) -> Values:
    """Measure verbatim runs (95th percentile, greatest) and the share of known 13-grams."""
    runs = sorted(train.longest_run(tokens) for tokens in texts)
    return {
        "longest_p95": runs[min(len(runs) - 1, round(0.95 * (len(runs) - 1)))],
        "longest": runs[-1],
        "known_13_grams": sum(map(train.shared, texts)) / len(texts),
    }


def diversities(samples: dict[str, dict[str, list[str]]], authors: Sequence[Author]) -> Values:
    """Compare repetition and variety of each writer's samples with the author's own chunks."""
    found: Values = {}
    for author in authors:
        written = samples[author.name]
        real = spread([c for work in author.test for c in chunks_of(work)], len(written[BASE]))
        found[author.name] = {
            writer: asdict(diversity_of(texts))
            for writer, texts in {**written, "the author": real}.items()
        }
    return found

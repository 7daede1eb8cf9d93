"""Stage one: acquire, clean, dedupe, filter, split and pack a corpus into the run's `corpus/`."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import track

from engine.files import whole_folder
from training.errors import BadCorpus
from training.run import stage
from training.run.evaluation import next_line
from training.run.expiry import due_of, guard, stamp_until
from training.run.recipe import Recipe, load_recipe
from training.run.record import digest_of_file, note_stage
from training.run.settings import TrainingSettings
from training.sources import Source
from training.sources.factory import FETCHED, GUARDIAN, source_of
from training.sources.origins import HubOrigin
from training.text.bases import load_tokenizer
from training.text.data.blocks import Block, pack, pack_like_autotrain, write_blocks
from training.text.data.cleaning import without_repeats
from training.text.data.slurs import without_slurs
from training.text.data.splits import SPLITS, split_works
from training.text.data.wishes import ROUNDS, answers
from training.text.data.works import Drop, Work, root_digest, write_works
from training.text.rights import require_text, retention_hours

LEAST_WORDS = 20  # a work with fewer is not text enough to learn from
DROPPED = "dropped.jsonl"
STYLES = 2  # keywords of an expert that wishes name it by, beside its title


def prepared(source: Source, recipe: Recipe, drops: list[Drop]) -> Iterator[Work]:
    works = selected(source.works(), recipe.corpus.keep, drops)
    if recipe.corpus.packing == "autotrain":  # all rows as they are
        yield from works
        return
    works = without_repeats(works, drops)
    if recipe.corpus.drop_slurs:
        works = without_slurs(works, drops)
    for work in works:
        if len(work.text.split()) < (1 if work.prompt else LEAST_WORDS):
            drops.append(Drop(work=work.id, reason="too short", text=work.title))
        else:
            yield work


def selected(
    works: Iterable[Work], keep: dict[str, tuple[str, ...]], drops: list[Drop]
) -> Iterator[Work]:
    """Keep works whose marks have a value that the recipe keeps; a missing mark counts as one."""
    for work in works:
        if all(work.marks.get(mark, values[0]) in values for mark, values in keep.items()):
            yield work
        else:
            drops.append(Drop(work=work.id, reason="not selected", text=work.title))


def blocks_of(works: list[Work], tokenizer: Any, recipe: Recipe) -> Iterator[Block]:
    if recipe.corpus.packing == "autotrain":
        return pack_like_autotrain(works, tokenizer, recipe.corpus.block)
    return pack(works, tokenizer, recipe.corpus.block, recipe.corpus.template)


def sizes(works: list[Work], blocks: list[Block]) -> dict[str, Any]:
    return {
        "works": len({work.origin for work in works}),  # not the answers made of them
        "bytes": sum(len(work.text.encode()) for work in works),
        "blocks": len(blocks),
        "tokens": sum(len(block.tokens) for block in blocks),
        "digests": {work.id: work.digest for work in works},
    }


def build(recipe: Recipe, source: Source, run: Path, base: Path | None) -> dict[str, Any]:
    """Make the run's `corpus/` folder; gives the facts noted in run.json."""
    tokenizer = load_tokenizer(recipe.base, base)  # first: it may be gated, or out of reach
    drops: list[Drop] = []
    works = list(track(prepared(source, recipe, drops), "reading works", total=None))
    if not works:
        raise BadCorpus(
            "The corpus has no usable text. It should hold .txt files (one work each) or .jsonl "
            f'lines with a "text". Dropped: {dict(Counter(drop.reason for drop in drops))}.'
        )
    root = root_digest(works)
    if recipe.corpus.root and recipe.corpus.root != root:
        raise BadCorpus(
            f"The texts are not those this recipe was written for: their root is {root}, the "
            f"recipe says {recipe.corpus.root}. Use the edition or revision that [source] names, "
            "or take the line corpus.root out to accept these."
        )
    splits, author = split_works(works, recipe.corpus, recipe.run.seed), recipe.expert
    if recipe.corpus.wishes:
        styles = [author.title or author.name, *author.keywords[:STYLES]]
        for name, rounds in (("train", ROUNDS), ("validation", 1)):
            made = answers(splits[name], author.template, styles, recipe.run.seed, rounds)
            splits[name] = list(made) + splits[name] * recipe.corpus.prose
    facts: dict[str, Any] = {"data_root": root, "splits": {}, "outputs": {}}
    with whole_folder(run / "corpus") as folder:
        if (hours := retention_hours(recipe)) is not None:  # the hour of the store they came from
            due = due_of(run / GUARDIAN) or due_of(run / FETCHED)
            stamp_until(folder, due or time.time() + hours * 3600)
        for name in SPLITS:
            blocks = list(blocks_of(splits[name], tokenizer, recipe))
            write_works(folder / f"{name}.jsonl", splits[name])
            write_blocks(folder / f"{name}.safetensors", blocks)
            facts["splits"][name] = sizes(splits[name], blocks)
            facts["outputs"][name] = digest_of_file(folder / f"{name}.safetensors")
        texts = (Work(id=d.work, title=d.reason, paragraphs=(d.text,), source="") for d in drops)
        write_works(folder / DROPPED, texts)
    facts["dropped"] = dict(Counter(drop.reason for drop in drops))
    if due_of(run / "corpus"):
        guard(run / "corpus")
    return facts


def main(
    recipe_file: stage.RecipeFile,
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="Texts to use in place of the recipe's source")
    ] = None,
    base: stage.BaseFolder = None,
    runs: stage.RunsFolder = Path("runs"),
    changes: stage.Changes = None,
) -> None:
    """Acquire, clean, dedupe, filter, split and pack a corpus."""
    recipe = load_recipe(recipe_file, tuple(changes or ()))
    run = stage.open_run(recipe, runs)
    require_text(recipe)
    if isinstance(recipe.source, HubOrigin) and corpus is None:
        stage.require_extra("datasets")
    source = source_of(recipe, runs, corpus, TrainingSettings())
    facts = build(recipe, source, run, base)
    note_stage(run, recipe, "corpus", facts)
    for name, size in facts["splits"].items():
        stage.say(
            f"{name}: {size['works']} works, {size['blocks']} blocks, {size['tokens']:,} tokens"
        )
    for reason, count in sorted(facts["dropped"].items()):
        stage.say(f"dropped, {reason}: {count}")
    stage.say(next_line("train_text", recipe_file, base, runs, changes))


if __name__ == "__main__":
    stage.run_stage(main)

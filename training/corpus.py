"""Stage one: acquire, clean, dedupe, filter, split and pack a corpus.

    python -m training.corpus training/recipes/lovecraft-embedded.toml --corpus DIR

Writes `corpus/` into the run's folder: the works of each split, what was dropped and why, the
blocks of tokens and `run.json`.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from training.atomic import whole_folder, write_json
from training.bases import load_tokenizer
from training.cleaning import without_repeats
from training.errors import BadCorpus
from training.packing import Block, pack, pack_like_autotrain, write_blocks
from training.recipe import Recipe, load_recipe
from training.record import digest_of_file, note_stage
from training.slurs import without_slurs
from training.sources import Source
from training.sources.choice import source_of
from training.splitting import SPLITS, split_works
from training.stage import BaseFolder, Changes, RecipeFile, RunsFolder, run_stage
from training.works import Drop, Work, root_digest, write_works

LEAST_WORDS = 20  # a work with fewer is not text enough to learn from
DROPPED = "dropped.jsonl"


def build(recipe: Recipe, source: Source, run: Path, base: Path | None) -> dict[str, Any]:
    """Make the run's `corpus/` folder; gives the facts noted in run.json."""
    drops: list[Drop] = []
    works = list(prepared(source, recipe, drops))
    if not works:
        raise BadCorpus(
            "The corpus has no usable text. It should hold .txt files (one work each) or .jsonl "
            'lines with a "text"; what was dropped and why is told above.'
        )
    splits = split_works(works, recipe.corpus, recipe.run.seed)
    tokenizer = load_tokenizer(recipe.base, base)
    facts: dict[str, Any] = {"data_root": root_digest(works), "splits": {}, "outputs": {}}
    with whole_folder(run / "corpus") as folder:
        for name in SPLITS:
            blocks = list(blocks_of(splits[name], tokenizer, recipe))
            write_works(folder / f"{name}.jsonl", splits[name])
            write_blocks(folder / f"{name}.safetensors", blocks)
            facts["splits"][name] = sizes(splits[name], blocks)
            facts["outputs"][name] = digest_of_file(folder / f"{name}.safetensors")
        write_drops(folder, drops)
        facts["dropped"] = dict(Counter(drop.reason for drop in drops))
        write_json(folder / "manifest.json", facts)
    return facts


def prepared(source: Source, recipe: Recipe, drops: list[Drop]) -> Iterator[Work]:
    """Works selected, cleaned and filtered, one after the other."""
    works = without_repeats(selected(source.works(), recipe.corpus.keep, drops), drops)
    if recipe.corpus.drop_slurs:
        works = without_slurs(works, drops)
    for work in works:
        if len(work.text.split()) < LEAST_WORDS:
            drops.append(Drop(work=work.id, reason="too short", text=work.title))
        else:
            yield work


def selected(
    works: Iterable[Work], keep: dict[str, tuple[str, ...]], drops: list[Drop]
) -> Iterator[Work]:
    """The works whose marks have one of the values that the recipe keeps."""
    for work in works:
        if all(work.marks.get(mark, "") in values for mark, values in keep.items()):
            yield work
        else:
            drops.append(Drop(work=work.id, reason="not selected", text=work.title))


def blocks_of(works: list[Work], tokenizer: Any, recipe: Recipe) -> Iterator[Block]:
    """Packed by the recipe's rule."""
    if recipe.corpus.packing == "autotrain":
        return pack_like_autotrain(works, tokenizer, recipe.corpus.block)
    return pack(works, tokenizer, recipe.corpus.block)


def sizes(works: list[Work], blocks: list[Block]) -> dict[str, Any]:
    """How much a split holds."""
    return {
        "works": len(works),
        "bytes": sum(len(work.text.encode()) for work in works),
        "blocks": len(blocks),
        "tokens": sum(len(block.tokens) for block in blocks),
        "digests": {work.id: work.digest for work in works},
    }


def write_drops(folder: Path, drops: list[Drop]) -> None:
    """What was taken out, as works with the reason for a title."""
    write_works(
        folder / DROPPED,
        (
            Work(id=drop.work, title=drop.reason, paragraphs=(drop.text,), source="")
            for drop in drops
        ),
    )


def main(
    recipe_file: RecipeFile,
    corpus: Annotated[
        Path | None, typer.Option("--corpus", help="Texts to use in place of the recipe's source")
    ] = None,
    base: BaseFolder = None,
    runs: RunsFolder = Path("runs"),
    changes: Changes = None,
) -> None:
    """Acquire, clean, dedupe, filter, split and pack a corpus."""
    recipe = load_recipe(recipe_file, tuple(changes or ()))
    run = runs / recipe.run.name
    facts = build(recipe, source_of(recipe, corpus), run, base)
    note_stage(run, recipe, "corpus", facts)
    tell(facts)


def tell(facts: dict[str, Any]) -> None:
    """Say what the corpus holds and what was left out."""
    console = Console()
    for name, size in facts["splits"].items():
        console.print(
            f"{name}: {size['works']} works, {size['blocks']} blocks, {size['tokens']:,} tokens"
        )
    for reason, count in sorted(facts["dropped"].items()):
        console.print(f"dropped, {reason}: {count}")


if __name__ == "__main__":
    run_stage(main)

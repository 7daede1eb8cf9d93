"""From a source's works to a split's blocks: select, clean, filter, pack, count."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from training.run.recipe import Recipe
from training.sources import Source
from training.text.data.blocks import Block, pack, pack_like_autotrain
from training.text.data.cleaning import without_repeats
from training.text.data.slurs import without_slurs
from training.text.data.works import Drop, Work, write_works

LEAST_WORDS = 20  # a work with fewer is not text enough to learn from
DROPPED = "dropped.jsonl"


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
        "works": len(works),
        "bytes": sum(len(work.text.encode()) for work in works),
        "blocks": len(blocks),
        "tokens": sum(len(block.tokens) for block in blocks),
        "digests": {work.id: work.digest for work in works},
    }


def write_drops(folder: Path, drops: list[Drop]) -> None:
    write_works(
        folder / DROPPED,
        (
            Work(id=drop.work, title=drop.reason, paragraphs=(drop.text,), source="")
            for drop in drops
        ),
    )

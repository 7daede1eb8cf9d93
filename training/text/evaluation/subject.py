"""What is evaluated: one base with every expert's adapter beside it, and each author's texts."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.errors import in_one_line
from engine.files import BUILT_IN
from engine.plan.cards import Expert, Rights, Template, load_card
from engine.weights.weight_files import check_adapter
from training.errors import BadRecipe, TrainingError
from training.run.expiry import due_of, require_fresh
from training.run.recipe import Recipe
from training.run.schedule import spread
from training.text.bases import load_base, load_tokenizer
from training.text.data.blocks import Block, read_split
from training.text.data.works import Work, read_works
from training.text.rights import require_training


@dataclass(frozen=True, kw_only=True)
class Author:
    recipe: Recipe
    run: Path

    @property
    def name(self) -> str:
        return self.recipe.expert.name

    @cached_property
    def card(self) -> Expert:
        """Read the built-in card of that name; without one, take the recipe's words."""
        folder, told = BUILT_IN / self.name, self.recipe.expert
        if (folder / "card.toml").exists():
            return load_card(folder)
        return Expert(
            name=self.name,
            title=told.title or self.name,
            medium="text",
            command=told.command,
            rights=Rights(licence="", basis=""),
            profiles={},
            template=Template(text=told.template),
        )

    @cached_property
    def train(self) -> list[Work]:
        return list(read_works(self.run / "corpus" / "train.jsonl"))

    @cached_property
    def test(self) -> list[Work]:
        return list(read_works(self.run / "corpus" / "test.jsonl"))

    def blocks(self, split: str, most: int) -> tuple[Block, ...]:
        return spread(read_split(self.run, split), most)


def authors_of(recipes: Sequence[Recipe], runs: Path) -> list[Author]:
    """Find the runs of the recipes; raises TrainingError when one is not ready or not allowed."""
    authors = [Author(recipe=recipe, run=runs / recipe.run.name) for recipe in recipes]
    for author in authors:
        require_training(author.recipe)
        if author.recipe.corpus.split == "none":
            raise BadRecipe(
                f"{author.recipe.run.name} holds no text out, as in the source report, so there is "
                "nothing to evaluate it on. Publish it, or train the default recipe."
            )
        require_fresh(due_of(author.run / "corpus"), time.time())
        if not (author.run / "adapter" / "adapter_config.json").exists():
            raise TrainingError(
                f"{author.recipe.run.name} has no adapter yet. Run `python -m training.train_text` "
                "with its recipe first."
            )
    if len({author.recipe.base.id for author in authors}) > 1:
        raise BadRecipe("Experts on different bases cannot be compared: evaluate them apart.")
    if len({author.name for author in authors}) < len(authors):
        raise BadRecipe("Two of these recipes make the same expert: evaluate them apart.")
    return authors


def load_with_adapters(authors: Sequence[Author], base: Path | None) -> tuple[Any, Any]:
    from peft import PeftModel

    tokenizer = load_tokenizer(authors[0].recipe.base, base)
    model: Any = load_base(authors[0].recipe, base)
    for author in authors:
        folder = author.run / "adapter"
        check_adapter(folder)
        try:
            if isinstance(model, PeftModel):
                model.load_adapter(folder, adapter_name=author.name)
            else:
                model = PeftModel.from_pretrained(model, folder, adapter_name=author.name)
        except (RuntimeError, ValueError, KeyError) as error:
            raise TrainingError(
                f"The adapter of {author.name} does not fit the base {author.recipe.base.id}: "
                f"{in_one_line(error)} Train it on this base, or name its own with --base."
            ) from error
    model.config.use_cache = True
    return model.eval(), tokenizer

"""An image recipe: the one strict TOML file that says everything about a LoRA for pictures."""

import json
from pathlib import Path
from typing import Any

from training.errors import BadRecipe, NotAllowed
from training.images import tables
from training.museum.metadata_rows import RIGHTS
from training.run.recipe import RunRecipe, read_recipe, read_toml, require_allowed

NOT_LEARNT_FROM = frozenset({"folder", "low_memory", "start"})
ONLY_SHOWN = frozenset(
    f"validation.{key}" for key in ("prompts", "seeds", "size", "steps", "guidance", "negative")
)


class ImageRecipe(RunRecipe):
    expert: tables.ImageExpert
    places = (("base", "id"), ("base", "vae"), ("lora", "start"))
    data: tables.Data
    base: tables.ImageBase
    lora: tables.ImageLora = tables.ImageLora()
    training: tables.ImageTraining = tables.ImageTraining()
    prior: tables.Prior = tables.Prior()
    validation: tables.Validation = tables.Validation()
    save: tables.Save = tables.Save()

    def recorded(self, **options: Any) -> dict[str, Any]:
        values = super().recorded(**options)
        for table in filter(values.get, ("data", "prior")):
            values[table]["folder"] = Path(getattr(self, table).folder).name
        return values

    @property
    def training_digest(self) -> str:
        tables = ("data", "base", "lora", "training", "prior", "validation")
        return self.digest_of_tables(tables, NOT_LEARNT_FROM | ONLY_SHOWN)


def load_image_recipe(path: Path, changes: tuple[str, ...] = ()) -> ImageRecipe:
    """Read a recipe; `changes` are `table.key=value` strings, their values in TOML."""
    recipe = read_recipe(path, changes, ImageRecipe)
    if recipe.save.kohya and recipe.lora.dora:
        raise BadRecipe(
            "Other tools read DoRA's magnitudes differently, so a DoRA has no kohya export. Set "
            "[save] kohya = false or [lora] dora = false."
        )
    return recipe


def is_image_recipe(path: Path) -> bool:
    return "data" in read_toml(path)


def require_image_training(recipe: ImageRecipe, folder: Path | None = None) -> None:
    """Raise NotAllowed unless the recipe and the folder's rights, if it has any, allow training."""
    recipe.require_allowed("pictures")
    if folder is None:
        return
    path, outer = folder / RIGHTS, folder.resolve().parent
    if not path.is_file():
        if (outer / RIGHTS).is_file():  # which holds its listing, with the times of its pictures
            raise NotAllowed(f"{folder} is a part of {outer}, which has rights. Name that folder.")
        return
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        held = None
    if not isinstance(held, dict):
        raise NotAllowed(f"{path} cannot be read, so nothing is trained. Harvest the folder again.")
    mend = f"write your basis into its {RIGHTS} and set train_allowed to true there"
    require_allowed(held, f"The pictures in {folder}", "pictures", mend)

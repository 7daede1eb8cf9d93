"""An image recipe: the one strict TOML file that says everything about a LoRA for pictures."""

from pathlib import Path
from typing import Any

from training.errors import BadRecipe
from training.images.tables import (
    Data,
    ImageBase,
    ImageExpert,
    ImageLora,
    ImageTraining,
    Prior,
    Save,
    Validation,
)
from training.runs.recipe import digest_of_values, placeless, read_recipe, read_toml
from training.runs.tables import Rights, Run, Table

NOT_LEARNT_FROM = {"folder", "kohya", "choose", "keep", "minutes", "every"}


class ImageRecipe(Table):
    """One run, whole."""

    run: Run
    expert: ImageExpert
    rights: Rights
    data: Data
    base: ImageBase
    lora: ImageLora = ImageLora()
    training: ImageTraining = ImageTraining()
    prior: Prior = Prior()
    validation: Validation = Validation()
    save: Save = Save()

    @property
    def digest(self) -> str:
        """sha256 of everything in the recipe but places on this machine, defaults included."""
        return digest_of_values(self.recorded())

    def recorded(self) -> dict[str, Any]:
        """What a record may hold: every value, but no place on this machine."""
        values = self.model_dump(mode="json")
        values["data"]["folder"] = Path(self.data.folder).name
        values["prior"]["folder"] = Path(self.prior.folder).name
        for key in ("id", "vae"):
            values["base"][key] = placeless(values["base"][key]) if values["base"][key] else ""
        return values

    @property
    def training_digest(self) -> str:
        """sha256 of what a checkpoint depends on; fields left at their defaults do not count."""
        parts: dict[str, Any] = {"seed": self.run.seed}
        for name in ("data", "base", "lora", "training", "prior", "validation"):
            table = getattr(self, name).model_dump(mode="json", exclude_defaults=True)
            parts[name] = {key: table[key] for key in table if key not in NOT_LEARNT_FROM}
        for key in ("prompts", "seeds", "size", "steps", "guidance", "negative"):
            parts["validation"].pop(key, None)  # only shown, never learnt from
        return digest_of_values(parts)


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
    """Whether a recipe file is about pictures: it has a `[data]` table, a text recipe `[source]`."""
    return "data" in read_toml(path)

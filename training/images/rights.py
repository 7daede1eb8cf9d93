"""What a recipe and a data folder say of their rights, enforced before anything is learnt."""

import json
from pathlib import Path
from typing import Any

from training.errors import NotAllowed
from training.images.recipe import ImageRecipe
from training.museum.metadata_rows import RIGHTS
from training.run.recipe import require_allowed


def require_image_training(recipe: ImageRecipe, folder: Path | None = None) -> None:
    """Raise NotAllowed unless recipe and folder, if there is one, both allow training."""
    recipe.require_allowed("pictures")
    if folder is not None and (held := folder_rights(folder)):
        mend = f"write your basis into its {RIGHTS} and set train_allowed to true there"
        require_allowed(held, f"The pictures in {folder}", "pictures", mend)


def folder_rights(folder: Path) -> dict[str, Any]:
    """Read the rights that the harvest wrote beside the pictures; empty for a folder without."""
    path = folder / RIGHTS
    if not path.is_file():
        return {}
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        held = None
    if not isinstance(held, dict):
        raise NotAllowed(f"{path} cannot be read, so nothing is trained. Harvest the folder again.")
    return held

"""What a recipe and a data folder say of their rights, enforced before anything is learnt."""

import json
from pathlib import Path
from typing import Any

from training.errors import NotAllowed
from training.images.recipe import ImageRecipe
from training.museum.metadata_rows import RIGHTS


def require_image_training(recipe: ImageRecipe, folder: Path | None = None) -> dict[str, Any]:
    """Raise NotAllowed unless recipe and folder both allow training; gives the folder's rights."""
    refuse_unless(
        recipe.rights.model_dump(mode="json"),
        f"The recipe {recipe.run.name!r}",
        "copy the recipe, write your basis into [rights] basis and set train_allowed = true",
    )
    held = folder_rights(folder) if folder is not None else {}
    if held:
        refuse_unless(
            held,
            f"The pictures in {folder}",
            f"write your basis into its {RIGHTS} and set train_allowed to true there",
        )
    return held


def refuse_unless(held: dict[str, Any], whose: str, mend: str) -> None:
    """Raise NotAllowed when rights state no basis, or do not allow training."""
    basis = str(held.get("basis") or "").strip()
    if held.get("train_allowed") is True and basis:
        return
    why = "it states no basis" if held.get("train_allowed") is True else "train_allowed is not true"
    raise NotAllowed(
        f'{whose} may not be trained on: {why}.\nWhat is said of the rights: "{basis or "(nothing)"}" '
        f"(licence: {held.get('licence') or 'none'}).\n"
        f"If you hold the right to train on these pictures, {mend}. If you do not, choose others."
    )


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

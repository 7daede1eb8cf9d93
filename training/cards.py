"""The card of a published expert: an existing one brought up to date, or a new one."""

from pathlib import Path
from typing import Any

import tomlkit
from tomlkit import TOMLDocument

from engine.registry import BUILT_IN as BUILT_IN_CARDS
from training.recipe import Recipe

__all__ = ["BUILT_IN_CARDS", "card_text"]

BESIDE = "adapter"  # the adapter's folder, beside the card


def card_text(recipe: Recipe, old: Path, same: bool, digest: str) -> str:
    """The card as TOML; comments of an old card stay.

    `same` says that the old card lies in the folder published to; of another folder's card, only
    profiles whose adapter is not beside it are taken over.
    """
    if old.exists():
        card = tomlkit.parse(old.read_text(encoding="utf-8"))
        if not same:
            drop_local_profiles(card)
    else:
        card = new_card(recipe)
    profiles: Any = card.setdefault("profiles", tomlkit.table(is_super_table=True))
    profile = profiles.setdefault(recipe.expert.profile, tomlkit.table())
    profile["base"] = recipe.base.id
    profile["adapter"] = BESIDE
    profile["digest"] = digest
    if recipe.base.revision:
        profile["revision"] = recipe.base.revision
    add_rights(card, recipe)
    return tomlkit.dumps(card)


def drop_local_profiles(card: TOMLDocument) -> None:
    """Take out profiles whose adapter lies beside a card in another folder."""
    profiles: Any = card.get("profiles", {})
    for name in [name for name, profile in profiles.items() if is_beside(profile)]:
        del profiles[name]


def is_beside(profile: dict[str, Any]) -> bool:
    """Whether a profile's adapter is a plain relative folder."""
    adapter = str(profile.get("adapter", ""))
    return bool(adapter) and "/" not in adapter


def new_card(recipe: Recipe) -> TOMLDocument:
    """A card from the recipe's own words."""
    expert = recipe.expert
    card = tomlkit.document()
    card["name"] = expert.name
    card["title"] = expert.title or expert.name
    card["medium"] = "text"
    card["command"] = expert.command
    card["order"] = expert.order
    card["about"] = expert.about or recipe.run.about
    card["keywords"] = list(expert.keywords) or [expert.name]
    card["label"] = expert.label
    card["template"] = {"text": expert.template}
    return card


def add_rights(card: TOMLDocument, recipe: Recipe) -> None:
    """The recipe's rights go onto the card; what it says already stays."""
    rights: Any = card.setdefault("rights", tomlkit.table())
    rights.setdefault("licence", recipe.rights.licence)
    rights.setdefault("basis", recipe.rights.basis)
    for key, values in (
        ("territories", recipe.rights.territories),
        ("attribution", recipe.rights.attribution),
    ):
        held = list(rights.get(key, []))
        if values:
            rights[key] = [*held, *(value for value in values if value not in held)]

"""The card of a published expert: an existing one brought up to date, or a new one."""

from pathlib import Path
from typing import Any

import tomlkit
from tomlkit import TOMLDocument

from training.errors import NotPublished
from training.images.recipe import ImageRecipe
from training.run.recipe import Recipe, placeless

AnyRecipe = Recipe | ImageRecipe

BESIDE = "adapter"  # the embedded adapter's folder, beside the card; others append their profile


def folder_of(profile: str) -> str:
    """Name the folder of a profile's adapter, beside the card: no two profiles share one."""
    return BESIDE if profile == "embedded" else f"{BESIDE}-{profile}"


def facts_lines(recipe: AnyRecipe, trained: dict[str, Any], more: str, digest: str) -> str:
    """List base, shape, digests; the recipe's is that of the training, whatever it says by now."""
    lora, base = recipe.lora, trained.get("base", {})
    known = ", ".join(filter(None, (base.get("digest"), base.get("commit"))))
    kind = "DoRA" if lora.dora else "rank-stabilised LoRA" if lora.rslora else "LoRA"
    return (
        f"- Base: `{placeless(recipe.base.id)}`{known and f' ({known})'}\n"
        f"- {kind}: rank {lora.rank}, alpha {lora.alpha:g}, dropout {lora.dropout:g}, target "
        f"`{lora.target}`{more}\n"
        f"- Recipe: `{recipe.run.name}` ({trained.get('recipe_digest', recipe.digest)})\n"
        f"- Adapter: {digest}"
    )


def require_room(recipe: AnyRecipe, card: Path, replace: bool) -> None:
    """Raise NotPublished when publishing would take weights from a profile unasked.

    Not even `replace` takes the folder that another profile's weights lie in.
    """
    expert, folder = recipe.expert, folder_of(recipe.expert.profile)
    values = tomlkit.parse(card.read_text(encoding="utf-8")) if card.exists() else {}
    profiles: Any = values.get("profiles", {})
    there = (card.parent / folder).exists()
    for name, profile in profiles.items():
        if there and name != expert.profile and profile.get("adapter") == folder:
            raise NotPublished(
                f"The profile {name!r} of {expert.name} keeps its adapter in {folder}, which was "
                f"left as it is. Publish {name!r} again first: it then gets a folder of its own."
            )
    held = profiles.get(expert.profile, {})
    if not replace and (there or has_weights(held, card.parent, recipe.base.id)):
        raise NotPublished(
            f"{expert.name} is published there already for the profile {expert.profile!r}, and was "
            "left as it is. Use --replace to put this adapter in its place, or another --into "
            "folder."
        )


def has_weights(profile: dict[str, Any], folder: Path, base: str) -> bool:
    """Tell whether a profile holds more than the base alone and the name of an adapter to come."""
    if not profile.get("adapter"):
        return bool(profile.get("base", base) != base)
    if profile.get("digest") or not is_beside(profile):
        return True
    return (folder / str(profile["adapter"])).exists()


def card_text(recipe: AnyRecipe, old: Path, same: bool, digest: str, commit: str = "") -> str:
    """Write the card as TOML; comments of an old card stay.

    `same` says that the old card lies in the folder published to; of another folder's card, only
    profiles whose adapter is not beside it are taken over. `commit` is the base's, on the hub.
    """
    if old.exists():
        card = tomlkit.parse(old.read_text(encoding="utf-8"))
        beside = [] if same else [n for n, p in card.get("profiles", {}).items() if is_beside(p)]
        for name in beside:
            del card["profiles"][name]
    else:
        card = new_card(recipe)
    profiles: Any = card.setdefault("profiles", tomlkit.table(is_super_table=True))
    profile = profiles.setdefault(recipe.expert.profile, tomlkit.table())
    profile["base"] = recipe.base.id
    profile["adapter"] = folder_of(recipe.expert.profile)
    profile["digest"] = digest
    profile.pop("revision", None)  # an adapter beside the card has none
    if revision := commit or recipe.base.revision:
        profile["base_revision"] = revision
    if isinstance(recipe, ImageRecipe) and recipe.base.vae:
        profile["vae"] = recipe.base.vae
    add_rights(card, recipe)
    return tomlkit.dumps(card)


def is_beside(profile: dict[str, Any]) -> bool:
    adapter = str(profile.get("adapter", ""))
    return bool(adapter) and "/" not in adapter


def new_card(recipe: AnyRecipe) -> TOMLDocument:
    expert = recipe.expert
    card = tomlkit.document()
    card["name"] = expert.name
    card["title"] = expert.title or expert.name
    card["medium"] = "image" if isinstance(recipe, ImageRecipe) else "text"
    card["command"] = expert.command
    card["order"] = expert.order
    card["about"] = expert.about or recipe.run.about
    card["keywords"] = list(expert.keywords) or [expert.name]
    card["label"] = expert.label
    if isinstance(recipe, ImageRecipe):
        card["drawing"] = drawing_of(recipe)
    else:
        card["template"] = {"text": expert.template}
    return card


def drawing_of(recipe: ImageRecipe) -> dict[str, Any]:
    """Draw as the validation pictures were drawn, at the recipe's resolution."""
    expert, shown = recipe.expert, recipe.validation
    drawing: dict[str, Any] = {"steps": shown.steps, "guidance": shown.guidance}
    if size := shown.size or recipe.data.resolution:
        drawing |= {"size": size, "largest": max(size, size * 3 // 2 // 8 * 8)}
    if shown.negative:
        drawing["negative"] = shown.negative
    return {**drawing, "prompt": expert.prompt, "token": expert.token}


def add_rights(card: TOMLDocument, recipe: AnyRecipe) -> None:
    """Put the recipe's rights onto the card; what it says already stays."""
    rights: Any = card.setdefault("rights", tomlkit.table())
    rights.setdefault("licence", recipe.rights.licence)
    rights.setdefault("basis", recipe.rights.basis)
    for key in ("territories", "attribution"):
        held, values = list(rights.get(key, [])), getattr(recipe.rights, key)
        if values:
            rights[key] = [*held, *(value for value in values if value not in held)]

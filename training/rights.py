"""The rights gate: what a recipe's `[rights]` allows is enforced here, not described."""

from training.errors import NotAllowed
from training.recipe import Recipe

GUARDIAN_TERMS = "https://www.theguardian.com/open-platform/terms-and-conditions"
GUARDIAN_HOURS = 24.0


def require_training(recipe: Recipe) -> None:
    """Raise NotAllowed unless the recipe states a basis and allows training."""
    rights = recipe.rights
    require_text(recipe)
    if rights.train_allowed and rights.basis.strip():
        return
    why = "train_allowed is false" if not rights.train_allowed else "it states no basis"
    raise NotAllowed(
        f"The recipe {recipe.run.name!r} may not be trained: {why}.\n"
        f'What it says of its rights: "{rights.basis.strip() or "(nothing)"}" '
        f"(licence: {rights.licence or 'none'}).\n"
        "If you hold the right to train on these texts, copy the recipe, write your basis into "
        "[rights] basis and set train_allowed = true. If you do not, choose another corpus."
    )


def require_text(recipe: Recipe) -> None:
    """Raise NotAllowed when a Guardian recipe asks for text without a licence."""
    if recipe.source.kind != "guardian":
        return
    if recipe.rights.licence_ref.strip() and recipe.rights.train_allowed:
        return
    raise NotAllowed(
        "The Guardian's Open Platform terms, 6(g), forbid using its content for machine learning "
        'or text mining ("You will not ... use, copy, scrape, reproduce ... the Content API, OP '
        'Content ... for any machine learning ... purposes"), and section 5 forbids keeping it '
        f"longer than {GUARDIAN_HOURS:.0f} hours: {GUARDIAN_TERMS}\n"
        "Metadata alone (id, address, section, date, word count) can be fetched: "
        "python -m training.corpus RECIPE --metadata-only.\n"
        "To train, ask licensing@theguardian.com for a licence; then put its reference into "
        "[rights] licence_ref and set train_allowed = true."
    )


def retention_hours(recipe: Recipe) -> float | None:
    """How long texts may lie on this machine; None means no limit. Guardian: at most 24 hours."""
    hours = recipe.rights.retention_days * 24 or None
    if recipe.source.kind == "guardian":
        return min(hours or GUARDIAN_HOURS, GUARDIAN_HOURS)
    return hours

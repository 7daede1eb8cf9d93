"""The rights gate: what a recipe's `[rights]` allows is enforced here, not described."""

from urllib.parse import urlsplit

from training.errors import NotAllowed
from training.run.recipe import Recipe
from training.sources.origins import BooksOrigin, GuardianOrigin, Origin, TablesOrigin

GUARDIAN_TERMS = "https://www.theguardian.com/open-platform/terms-and-conditions"
GUARDIAN_HOURS = 24.0
GUARDIAN_SITES = ("theguardian.com", "guardianapis.com")  # and every host under them
# The terms as varied on 25 January 2024.
CLAUSE_6G = (
    "You will not: (i) use, copy, scrape, reproduce, alter, modify, collect, mine and/or extract "
    "the Content API, OP Content or Guardian Digital Network: (A) for any machine learning, machine "
    "learning language models and/or artificial intelligence-related purposes"
)
CLAUSE_5 = "For legal reasons, you must not keep any OP Content for longer than 24 hours."


def require_training(recipe: Recipe) -> None:
    """Raise NotAllowed unless the recipe states a basis and allows training."""
    require_text(recipe)
    recipe.require_allowed("texts")


def require_text(recipe: Recipe) -> None:
    """Raise NotAllowed when a Guardian recipe asks for text without a licence."""
    if not is_guardian(recipe.source):
        return
    if recipe.rights.licence_ref.strip() and recipe.rights.train_allowed:
        return
    raise NotAllowed(
        f"The Guardian's Open Platform terms ({GUARDIAN_TERMS}) forbid this.\n"
        f'6(g): "{CLAUSE_6G}"\n'
        f'5: "{CLAUSE_5}"\n'
        "To train, ask licensing@theguardian.com for a licence; then put its reference into "
        "[rights] licence_ref and set train_allowed = true."
    )


def is_guardian(origin: Origin) -> bool:
    """Tell whether texts come from The Guardian, through its interface or by plain address."""
    match origin:
        case GuardianOrigin():
            return True
        case BooksOrigin(shelves=shelves):
            pages = (p for shelf in shelves for work in shelf.works for p in shelf.addresses(work))
            return any(map(is_guardian_address, pages))
        case TablesOrigin(addresses=tables):
            return any(map(is_guardian_address, tables))
        case _:
            return False


def is_guardian_address(address: str) -> bool:
    """Tell whether an address lies on one of The Guardian's sites.

    >>> is_guardian_address("https://example.org/www.theguardian.com")
    False
    """
    host = (urlsplit(address.strip()).hostname or "").rstrip(".")
    return any(host == site or host.endswith(f".{site}") for site in GUARDIAN_SITES)


def retention_hours(recipe: Recipe) -> float | None:
    """Tell how long texts may lie here; None means no limit. Guardian: at most 24 hours."""
    hours = recipe.rights.retention_days * 24 or None
    if is_guardian(recipe.source):
        return min(hours or GUARDIAN_HOURS, GUARDIAN_HOURS)
    return hours

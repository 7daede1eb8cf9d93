"""What pytest looks at: of the product's modules only those that have doctests."""

from pathlib import Path

PRODUCT = tuple(Path(__file__).parent / name for name in ("bot", "engine", "training"))


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Import no module just to find that it has no examples: each of four processes would do it."""
    if collection_path.suffix == ".py" and any(p in collection_path.parents for p in PRODUCT):
        return ">>>" not in collection_path.read_text(encoding="utf-8") or None
    return None

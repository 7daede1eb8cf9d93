"""Build the source that a recipe names, or the folder that stands in for it."""

from pathlib import Path

from training.errors import BadCorpus
from training.origins import FolderOrigin
from training.recipe import Recipe
from training.sources import Source
from training.sources.folder import FolderSource


def source_of(recipe: Recipe, corpus: Path | None) -> Source:
    """`corpus`, when given, overrides the recipe's own source."""
    origin = recipe.source
    edition = getattr(origin, "edition", "") or origin.kind
    if corpus is None and isinstance(origin, FolderOrigin):
        corpus = Path(origin.path) if origin.path else None
    if corpus is not None:
        if not corpus.exists():
            raise BadCorpus(f"There is no corpus at {corpus}. Check the path after --corpus.")
        return FolderSource(corpus, edition, recipe.rights.licence, recipe.corpus.files)
    raise BadCorpus("This recipe's texts are not at hand: name a folder with --corpus DIR.")

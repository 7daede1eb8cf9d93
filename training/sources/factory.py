"""Build the source that a recipe names, or the folder that stands in for it."""

import time
from pathlib import Path

from training.errors import BadCorpus, NotAllowed
from training.run.expiry import guard, stamp
from training.run.recipe import Recipe
from training.run.settings import TrainingSettings
from training.sources import Source, origins
from training.sources import guardian_api as api
from training.sources.books import BooksSource
from training.sources.csv_tables import TablesSource
from training.sources.guardian_articles import GuardianSource
from training.sources.hub import HubSource
from training.sources.text_folder import FolderSource
from training.text.rights import GUARDIAN_HOURS, retention_hours
from training.web.http_client import Journal, PoliteClient

FETCHED = "fetched"  # in the runs folder, shared by runs: nothing is fetched twice
GUARDIAN = "guardian"


def source_of(
    recipe: Recipe, runs: Path, corpus: Path | None, settings: TrainingSettings
) -> Source:
    """Build the recipe's own source; `corpus`, when given, overrides it."""
    origin, licence = recipe.source, recipe.rights.licence
    if isinstance(origin, origins.FolderOrigin) and corpus is None:
        corpus = Path(origin.path) if origin.path else None
    if corpus is not None:
        if not corpus.exists():
            raise BadCorpus(f"There is no corpus at {corpus}. Check the path after --corpus.")
        return FolderSource(corpus, origin.edition or origin.kind, licence, recipe.corpus.files)
    match origin:
        case origins.HubOrigin():
            return HubSource(origin, licence, raw=recipe.corpus.packing == "autotrain")
        case origins.BooksOrigin():
            return BooksSource(origin, licence, journal_of(recipe, origin.seconds_between, runs))
        case origins.TablesOrigin():
            return TablesSource(origin, licence, journal_of(recipe, origin.seconds_between, runs))
        case origins.GuardianOrigin():
            return guardian_source(recipe, origin, runs, settings)
        case origins.FolderOrigin():
            raise BadCorpus("This recipe's texts are not at hand: name them with --corpus DIR.")


def journal_of(recipe: Recipe, seconds_between: float, runs: Path) -> Journal:
    """Keep what is fetched; in a folder of its own where texts may not stay."""
    hours, folder = retention_hours(recipe), runs / FETCHED
    if hours is not None:
        folder = runs / recipe.run.name / FETCHED
        stamp(folder, hours, time.time())
        guard(folder)
    return Journal(folder, PoliteClient(seconds_between).body)


def guardian_source(
    recipe: Recipe, origin: origins.GuardianOrigin, runs: Path, settings: TrainingSettings
) -> GuardianSource:
    key = settings.guardian_api_key
    if key is None:
        raise NotAllowed(
            "The Guardian needs a key of your own: set GUARDIAN_API_KEY. Keys come from "
            "https://open-platform.theguardian.com/access/."
        )
    client = PoliteClient(api.SECONDS_BETWEEN, api.FIRST_RETRY)
    guardian = api.GuardianApi(key.get_secret_value(), client, settings.guardian_address)
    hours = retention_hours(recipe) or GUARDIAN_HOURS
    store = runs / recipe.run.name / GUARDIAN
    return GuardianSource(origin, recipe.rights.licence_ref, guardian, store, hours)

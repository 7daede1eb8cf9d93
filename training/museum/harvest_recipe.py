"""The recipe of a museum data set: `[run]`, `[rights]`, `[harvest]` and `[caption]`, all strict."""

from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from training.errors import NotAllowed
from training.museum.metadata_rows import MOST_DAYS
from training.run.recipe import RunRecipe, digest_of_values, read_recipe
from training.run.tables import Table

API = "https://api.vam.ac.uk/v2"
JEWELLERY = "THES48930"  # the catalogue's category
LEAST_SPACING = 0.35  # seconds between calls to a museum; a loopback server needs none
LOOPBACK = ("127.0.0.1", "::1", "localhost")
PREFIX = "a high-quality photo of a real historical TOK jewellery piece"
OPENAI = "https://api.openai.com/v1"


class Harvest(Table):
    address: str = API
    terms: tuple[str, ...] = Field(default=("Coronet",), min_length=1)
    categories: tuple[str, ...] = (JEWELLERY,)
    page_size: int = Field(default=100, ge=1, le=100)
    high_resolution: bool = True  # only objects with pictures of 2500 px
    copyright: str = ""  # words that a picture's copyright line must hold
    longest_side: int = Field(default=2500, ge=64, le=2500)
    least_side: int = Field(default=256, ge=1)
    limit: int = Field(default=0, ge=0)  # objects, lowest numbers first; 0 means all
    seconds_between: float = Field(default=1.0, ge=0)

    @property
    def local(self) -> bool:
        return urlsplit(self.address).hostname in LOOPBACK

    @model_validator(mode="after")
    def polite(self) -> Self:
        if self.seconds_between < LEAST_SPACING and not self.local:
            raise ValueError(f"seconds_between must be at least {LEAST_SPACING} for a museum")
        return self


class CaptionTable(Table):
    model: str = "gpt-4.1-2025-04-14"
    address: str = OPENAI  # any server that speaks the same protocol
    prefix: str = PREFIX
    longest_side: int = Field(default=1024, ge=64, le=2048)
    detail: Literal["auto", "low", "high"] = "high"
    most_tokens: int = Field(default=600, ge=64, le=4096)  # of an answer
    seed: int = 42
    concurrency: int = Field(default=4, ge=1, le=32)
    token_budget: int = Field(default=75, ge=20, le=75)  # CLIP tokens of the short caption
    dollars_in: float | None = Field(default=None, ge=0)  # per million tokens; None: looked up
    dollars_out: float | None = Field(default=None, ge=0)

    @property
    def own(self) -> bool:
        return self.address.rstrip("/") == OPENAI


class HarvestRecipe(RunRecipe):
    places = (("caption", "model"),)
    harvest: Harvest = Harvest()
    caption: CaptionTable = CaptionTable()

    @property
    def search_digest(self) -> str:
        return digest_of_values(self.harvest.model_dump(mode="json", exclude={"seconds_between"}))

    @property
    def retention_days(self) -> float:
        return min(self.rights.retention_days or MOST_DAYS, MOST_DAYS)


def load_harvest_recipe(path: Path, changes: tuple[str, ...] = ()) -> HarvestRecipe:
    """Read a recipe; `changes` are `table.key=value` strings. Raises BadRecipe or NotAllowed."""
    return read_recipe(path, changes, HarvestRecipe)


def require_basis(recipe: HarvestRecipe) -> None:
    """Raise NotAllowed unless the recipe says why the museum's content may be taken."""
    if not recipe.rights.basis.strip() or recipe.rights.terms_read_on is None:
        raise NotAllowed(
            "The recipe does not say why the museum's pictures may be taken. Read the terms at "
            f"{recipe.rights.terms_url or 'the museum site'}, then write your purpose into "
            "[rights] basis and the day into terms_read_on. The V&A allows non-commercial "
            "personal and educational use."
        )

"""A recipe: the one strict TOML file that says everything about a run."""

import hashlib
import json
import tomllib
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from training.errors import BadRecipe
from training.origins import Origin

SHORT_DIGEST = 12  # hex digits shown to people


class Table(BaseModel):
    """A TOML table in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Run(Table):
    """What the run is called, and the seed of every draw in it."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    seed: int = 42
    about: str = ""


class Rights(Table):
    """Why the texts may be used, and for what; `retention_days` 0 means no limit."""

    basis: str
    licence: str
    licence_ref: str = ""
    terms_url: str = ""
    terms_read_on: date | None = None
    retention_days: float = Field(default=0, ge=0)
    train_allowed: bool
    territories: tuple[str, ...] = ()
    attribution: tuple[str, ...] = ()


class Corpus(Table):
    """How texts become blocks; works named in neither list are drawn by the shares."""

    block: int = Field(default=1024, ge=16)
    split: Literal["work", "span"] = "work"
    test: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test_share: float = Field(default=0, ge=0, lt=0.5)
    validation_share: float = Field(default=0, ge=0, lt=0.5)
    files: tuple[str, ...] = ()
    keep: dict[str, tuple[str, ...]] = {}
    drop_slurs: bool = True
    packing: Literal["works", "autotrain"] = "works"


class Base(Table):
    """The model under the adapter; `id` is a hub id, a folder or an embedded base's id."""

    id: str
    revision: str = ""
    attention: Literal["auto", "eager", "sdpa", "flex_attention"] = "auto"


class Lora(Table):
    """The shape of the adapter."""

    rank: int = Field(default=16, ge=1)
    alpha: float = 32
    dropout: float = Field(default=0.05, ge=0, lt=1)
    target: str | tuple[str, ...] = "all-linear"
    rslora: bool = False


class Training(Table):
    """How the adapter is fitted; `blocks` (when set) wins over `epochs`."""

    method: Literal["lora", "qlora"] = "lora"
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    double_quant: bool = True
    optimiser: Literal["adamw", "adamw8bit"] = "adamw"
    learning_rate: float = Field(default=2e-4, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: float = Field(default=0.05, ge=0, le=0.5)
    floor: float = Field(default=0.1, ge=0, le=1)
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    batch: int = Field(default=1, ge=1)
    accumulate: int = Field(default=8, ge=1)
    epochs: float = Field(default=1, gt=0)
    blocks: int = Field(default=0, ge=0)
    gradient_checkpointing: bool = False
    validate_every: int = Field(default=50, ge=1)
    validation_blocks: int = Field(default=24, ge=1)
    patience: int = Field(default=0, ge=0)
    checkpoint_minutes: float = Field(default=10, gt=0)


class Recipe(Table):
    """One run, whole."""

    run: Run
    rights: Rights
    source: Annotated[Origin, Field(discriminator="kind")]
    base: Base
    corpus: Corpus = Corpus()
    lora: Lora = Lora()
    training: Training = Training()

    @property
    def digest(self) -> str:
        """sha256 of everything in the recipe, defaults included."""
        return digest_of_values(self.model_dump(mode="json"))

    @property
    def training_digest(self) -> str:
        """sha256 of what a checkpoint depends on; fields left at their defaults do not count."""
        parts = {"seed": self.run.seed}
        for name in ("base", "lora", "training"):
            parts[name] = getattr(self, name).model_dump(mode="json", exclude_defaults=True)
        return digest_of_values(parts)


def digest_of_values(values: Any) -> str:
    """sha256 of a JSON-able value, independent of key order."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False, default=str)
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def load_recipe(path: Path, changes: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe; `changes` are `table.key=value` strings, their values in TOML."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise BadRecipe(f"There is no recipe at {path}. Check the path.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRecipe(f"{path.name} is not valid TOML: {error}. Correct that line.") from error
    for change in changes:
        apply_change(values, change)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise BadRecipe(f"{path.name} cannot be used:\n{explain(error)}") from error


def apply_change(values: dict[str, Any], change: str) -> None:
    """Put one `table.key=value` into the parsed recipe."""
    target, sign, text = change.partition("=")
    *tables, key = target.strip().split(".")
    if not sign or not tables:
        raise BadRecipe(f"--set {change!r} should look like --set training.batch=2.")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    for table in tables:
        values = values.setdefault(table, {})
    values[key] = value


def explain(error: ValidationError) -> str:
    """One plain line for each fault in the recipe."""
    lines = []
    for fault in error.errors():
        place = ".".join(str(part) for part in fault["loc"])
        said = "is not a known key" if fault["type"] == "extra_forbidden" else fault["msg"].lower()
        lines.append(f"  {place}: {said}")
    return "\n".join(lines)

"""The tables of a recipe, apart from `[source]`: strict, with defaults that work."""

from datetime import date
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Table(BaseModel):
    """Check a TOML table in which an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Run(Table):
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")
    seed: int = 42
    about: str = ""


class Rights(Table):
    """Say why the material may be used, and for what; `retention_days` 0 means no limit."""

    basis: str
    licence: str
    licence_ref: str = ""
    terms_url: str = ""
    terms_read_on: date | None = None
    retention_days: float = Field(default=0, ge=0)
    train_allowed: bool
    territories: tuple[str, ...] = ()
    attribution: tuple[str, ...] = ()

    def words(self, what: str, *more: str) -> str:
        """Say in Markdown why `what` may be used, and whom to name."""
        said = [f"{what}: {self.licence}. {self.basis}", *more]
        return "\n\n".join(filter(None, [*said, *(f"> {line}" for line in self.attribution)]))

    def where(self) -> str:
        places = ", ".join(self.territories)
        return f"Only where these rights hold: {places}." if places else ""


class Corpus(Table):
    """Say how texts become blocks; works named in neither list are drawn by the shares."""

    block: int = Field(default=1024, ge=16)
    split: Literal["work", "span", "none"] = "work"
    test: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    test_share: float = Field(default=0, ge=0, lt=0.5)
    validation_share: float = Field(default=0, ge=0, lt=0.5)
    files: tuple[str, ...] = ()
    keep: dict[str, tuple[str, ...]] = {}
    drop_slurs: bool = True
    packing: Literal["works", "autotrain"] = "works"
    template: Literal["plain", "chat"] = "plain"  # how prompts of prompt and answer are put
    wishes: bool = False  # make prose answers to wishes; what is tested stays prose
    prose: int = Field(default=0, ge=0)  # so often prose is learnt as it stands, beside its answers
    root: str = ""  # the data root hash this recipe was written for; another one is an error


class Base(Table):
    """Name the model under the adapter; `id` is a hub id, a folder or an embedded base's id."""

    id: str
    revision: str = ""
    attention: Literal["auto", "eager", "sdpa", "flex_attention"] = "auto"


class Lora(Table):
    """Shape the adapter; `start` is one to go on from, a folder of the same shape."""

    rank: int = Field(default=16, ge=1)
    alpha: float = 32
    dropout: float = Field(default=0.05, ge=0, lt=1)
    target: str | tuple[str, ...] = "all-linear"
    rslora: bool = False
    dora: bool = False
    start: str = ""


class TextLora(Lora):
    """`kept`: so much of `start` is in what is written (Wortsman et al. 2022, arXiv 2109.01903)."""

    kept: float = Field(default=0.0, ge=0, lt=1)


class AnyTraining(Table):
    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    optimiser: Literal["adamw", "adamw8bit"] = "adamw"
    learning_rate: float = Field(default=1e-4, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "constant"
    weight_decay: float = Field(default=0.0, ge=0)
    clip: float = Field(default=1.0, gt=0)
    lora_plus: float = Field(default=1.0, ge=1)  # B's rate over A's (Hayou et al. 2024)
    least_steps: int = Field(default=0, ge=0)  # however few the epochs are
    batch: int = Field(default=1, ge=1)
    accumulate: int = Field(default=4, ge=1)
    gradient_checkpointing: bool = False
    warmup_steps: int = Field(default=0, ge=0)  # when set, wins over the share
    warmup_share: float = Field(default=0, ge=0, le=0.5)
    floor: float = Field(default=0, ge=0, le=1)  # share of the rate that a falling schedule ends at


class Training(AnyTraining):
    """Say how the adapter is fitted; `blocks` (when set) wins over `epochs`."""

    method: Literal["lora", "qlora"] = "lora"
    double_quant: bool = True
    learning_rate: float = Field(default=2e-4, gt=0)
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_share: float = Field(default=0.05, ge=0, le=0.5)
    floor: float = Field(default=0.1, ge=0, le=1)
    accumulate: int = Field(default=8, ge=1)
    epochs: float = Field(default=1, gt=0)
    blocks: int = Field(default=0, ge=0)
    validate_every: int = Field(default=50, ge=1)
    validation_blocks: int = Field(default=24, ge=1)
    patience: int = Field(default=0, ge=0)
    choose: Literal["best", "last"] = "best"
    checkpoint_minutes: float = Field(default=10, gt=0)
    wish_weight: float = Field(default=1, ge=1)  # in the loss, of what an answer's wish names


class ExpertTable(Table):
    """Name the expert that the adapter becomes; the words are for a card that does not exist yet."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")
    profile: str = "full"
    title: str = ""
    command: str = "story"
    about: str = ""
    keywords: tuple[str, ...] = ()
    label: str = ""
    order: int = 100
    template: str = "{instruction}\n\n{request}\n{beginning}"

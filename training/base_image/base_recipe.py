"""The recipe of a small image base: shapes, pictures, steps. Unknown keys are errors."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from training.run.tables import Table

Rate = Annotated[float, Field(gt=0, lt=1)]
Steps = Annotated[int, Field(ge=1)]


class Pictures(Table):
    folder: Path
    size: Annotated[int, Field(ge=64, multiple_of=32)] = 128
    zoom: Annotated[float, Field(ge=1, le=2)] = 1.12
    held_out: Annotated[int, Field(ge=8)] = 200
    first: Annotated[int, Field(ge=0)] = 0  # only so many, by name; 0: all that are there


class Autoencoder(Table):
    also: tuple[Path, ...] = ()  # folders that the autoencoder sees beside the pictures' own
    first: Annotated[int, Field(ge=0)] = 0  # of each folder it sees so many; 0: all
    channels: tuple[int, int, int, int] = (24, 48, 96, 128)
    layers: int = 1
    groups: int = 8
    crop: int = 64
    batch: int = 16
    whole_batch: int = 4
    whole_share: Annotated[float, Field(ge=0, le=1)] = 0.15
    learning_rate: Rate = 1e-3
    steps: Steps = 9000
    kl: float = 1e-5
    chroma: float = 2.0
    edges: float = 1.0
    preview: float = 0.5
    perceptual: Annotated[float, Field(ge=0)] = 0.0
    adversarial: Annotated[float, Field(ge=0)] = 0.0
    adversarial_from: Annotated[int, Field(ge=0)] = 0  # the step at which the critic comes in


class Denoiser(Table):
    channels: tuple[int, int, int] = (64, 128, 160)
    layers: int = 1
    groups: int = 32
    transformers: tuple[int, int, int] = (1, 1, 2)
    heads: tuple[int, int, int] = (2, 4, 5)
    text_widths: tuple[int, int] = (32, 64)
    text_layers: tuple[int, int] = (2, 3)
    time_embedding: int = 16
    batch: int = 64
    learning_rate: Rate = 1e-3
    steps: Steps = 4000
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.1
    views: Annotated[int, Field(ge=1)] = 4


class BaseRecipe(Table):
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    seed: int = 42
    checkpoint_minutes: float = 3.0
    pictures: Pictures
    autoencoder: Autoencoder = Autoencoder()
    denoiser: Denoiser = Denoiser()

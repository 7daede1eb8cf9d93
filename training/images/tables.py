"""The tables of an image recipe: strict, with defaults that work for SDXL."""

from typing import Literal

from pydantic import Field

from training.run.tables import AnyTraining, ExpertTable, Lora, Table


class ImageExpert(ExpertTable):
    """Name the expert that the LoRA becomes; `prompt` and `token` are its card's for drawing."""

    command: str = "jewel"
    prompt: str = "{request}"
    token: str = ""


class Data(Table):
    """Name the folder of captioned pictures, and how they are cut and held out.

    With `buckets`, pictures are cut to the shape nearest their own among shapes of about resolution²
    pixels, in steps of `bucket_step`; else to squares. `crops` is how many places a picture may be cut
    at; `held_out` is a share of the objects, told apart by the field `group_by`. `captions` says
    whose: a model's, a .txt file's, the listing's in that order ("auto"), only a model's ("gpt"), all
    but a model's ("text") or none; without one the `instance_prompt` is said. `wording` is for the
    listing's own text. The base is told each picture's `original` size, or ("resized") that it is
    trained at.
    """

    folder: str
    captions: Literal["auto", "gpt", "text", "instance"] = "auto"
    instance_prompt: str = "a photo antique TOK jewellery"
    wording: str = Field(default="{caption}", pattern=r"\{caption\}")
    original: Literal["picture", "resized"] = "picture"
    resolution: int = Field(default=0, ge=0)  # 0: the base's own
    buckets: bool = True
    bucket_step: int = Field(default=64, ge=8)
    crops: int = Field(default=4, ge=1, le=64)
    held_out: float = Field(default=0.1, ge=0, lt=0.9)
    group_by: str = "system_number"
    caption_dropout: float = Field(default=0.1, ge=0, le=1)
    limit: int = Field(default=0, ge=0)  # pictures to use, evenly spread; 0 means all


class ImageBase(Table):
    """Name the pipeline under the LoRA: a hub id, a folder or an embedded id; `vae` in its place."""

    id: str
    revision: str = ""
    vae: str = ""


class ImageLora(Lora):
    """Shape the LoRA; `target` is "attn", "attn-mlp" or the names of UNet modules.

    `conv_rank` adds the UNet's convolutions (LoCon), as strong as the rest; `text_encoders` both
    encoders' attention; `start` is a LoRA's file or folder, of any tool, to go on from.
    """

    alpha: float = Field(default=16, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target: Literal["attn", "attn-mlp"] | tuple[str, ...] = "attn"
    init: Literal["gaussian", "kaiming", "olora", "orthogonal"] = "gaussian"
    conv_rank: int = Field(default=0, ge=0)
    text_encoders: bool = False


class ImageTraining(AnyTraining):
    """Say how the LoRA is fitted; `steps` (when set) wins over `epochs`. `ema`, `snr_gamma` 0: off."""

    weight_decay: float = Field(default=1e-2, ge=0)
    steps: int = Field(default=0, ge=0)
    epochs: float = Field(default=15, gt=0)
    snr_gamma: float = Field(default=5.0, ge=0)
    noise_offset: float = Field(default=0.0, ge=0, le=1)
    ema: float = Field(default=0.999, ge=0, lt=1)
    low_memory: bool = False  # draws in tiles, for GPUs of 12 GB


class Prior(Table):
    """Preserve the class: its pictures as the base draws it are trained along at `weight`.

    With a `folder`, its pictures are used; else `pictures` are drawn from `prompt` before training.
    """

    weight: float = Field(default=0.0, ge=0)
    pictures: int = Field(default=100, ge=1)
    prompt: str = "a photo of jewellery"
    folder: str = ""


class Validation(Table):
    pictures: int = Field(default=32, ge=1)
    noises: int = Field(default=1, ge=1)
    times: int = Field(default=10, ge=1, le=100)
    prompts: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0,)
    size: int = Field(default=0, ge=0)  # pixels; 0 means the training resolution
    steps: int = Field(default=30, ge=1)
    guidance: float = Field(default=6.0, ge=0)
    negative: str = ""


class Save(Table):
    """Keep checkpoints every few steps (and minutes), the last `keep` and the best of them."""

    every: int = Field(default=500, ge=1)
    minutes: float = Field(default=15, gt=0)
    keep: int = Field(default=4, ge=1)
    choose: Literal["best", "last"] = "best"
    kohya: bool = False

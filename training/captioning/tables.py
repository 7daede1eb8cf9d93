"""The `[caption]` table of a recipe."""

from typing import Literal

from pydantic import Field

from training.run.tables import Table

PREFIX = "a high-quality photo of a real historical TOK jewellery piece"
OPENAI = "https://api.openai.com/v1"
Kind = Literal["openai", "catalogue"]


class CaptionTable(Table):
    """Say who looks at the pictures, how, and what a caption looks like."""

    captioner: Kind = "openai"
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

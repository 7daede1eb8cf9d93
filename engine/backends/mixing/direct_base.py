"""A Llama that `pastiche prepare` made, read from its own files, for mixing on a processor.

Importing transformers' model classes takes a cold worker longer than reading a small base. Bases from
elsewhere, other layouts, and one whose settings were edited since are left to it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from safetensors import safe_open
from tokenizers import Tokenizer

from engine.backends.mixing.decoder import Rope, State
from engine.weights.bases import MANIFEST, is_prepared
from engine.weights.weight_files import SUMS, sha256_of

SETTINGS = ("config.json", "generation_config.json", "tokenizer_config.json")
TOKENIZER, TEMPLATE, WEIGHTS = "tokenizer.json", "chat_template.jinja", "model.safetensors"
_SANDBOX = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)


class Rotary:
    """Give transformers' default rotary embedding, by the same steps."""

    def __init__(self, size: int, theta: float) -> None:
        self._frequencies = 1.0 / (theta ** (torch.arange(0, size, 2, dtype=torch.float) / size))

    def __call__(self, like: torch.Tensor, positions: torch.Tensor) -> Rope:
        turns = positions[..., None].float() * self._frequencies
        both = torch.cat((turns, turns), dim=-1)
        return both.cos().to(like.dtype), both.sin().to(like.dtype)


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectBase:
    """Stand for a transformers model, as far as make_decoder and make_resident ask."""

    config: SimpleNamespace
    generation_config: SimpleNamespace
    state: State
    rotary: Rotary

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def parameters(self) -> Iterable[torch.Tensor]:
        return {id(tensor): tensor for tensor in self.state.values()}.values()  # a tied head once


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectTokenizer:
    """Encode, decode and render a chat as transformers does."""

    tokenizer: Tokenizer
    bos_token_id: int | None
    eos_token_id: int | None
    chat_template: str

    def __call__(
        self, text: str, *, add_special_tokens: bool = True, split_special_tokens: bool = False
    ) -> SimpleNamespace:
        self.tokenizer.encode_special_tokens = split_special_tokens
        ids = self.tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return SimpleNamespace(input_ids=ids)

    def decode(self, ids: list[int], *, skip_special_tokens: bool = False) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    def apply_chat_template(self, messages: Sequence[dict[str, str]], **options: bool) -> str:
        return _SANDBOX.from_string(self.chat_template).render(messages=messages, **options)


def read_directly(folder: Path) -> tuple[DirectBase, DirectTokenizer] | None:
    """Read a base; None for one that only transformers knows. Raises OSError, ValueError, KeyError."""
    if not (is_prepared(folder) and (folder / SUMS).exists() and _as_prepared(folder)):
        return None
    said, ends, told = (_json(folder / name) for name in SETTINGS)
    rope = said.get("rope_parameters") or {}
    if (said["model_type"], rope.get("rope_type")) != ("llama", "default"):
        return None
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        # a copy: what is mapped from a file changes with it
        state = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    if said["tie_word_embeddings"]:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    base = DirectBase(
        config=SimpleNamespace(**said),
        generation_config=SimpleNamespace(eos_token_id=ends.get("eos_token_id")),
        state=state,
        rotary=Rotary(said["head_dim"], rope["rope_theta"]),
    )
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    template = folder / TEMPLATE
    return base, DirectTokenizer(
        tokenizer=tokenizer,
        bos_token_id=tokenizer.token_to_id(told.get("bos_token") or ""),
        eos_token_id=tokenizer.token_to_id(told.get("eos_token") or ""),
        chat_template=template.read_text(encoding="utf-8") if template.exists() else "",
    )


def _as_prepared(folder: Path) -> bool:
    """Tell whether its settings are as they were written; the weights' digest is taken anyway."""
    noted = set((folder / SUMS).read_text(encoding="utf-8").splitlines())
    files = [folder / name for name in (*SETTINGS, TOKENIZER, TEMPLATE)]
    lines = {f"{sha256_of(file)}  {file.name}" for file in files if file.exists()}
    return {line for line in noted if not line.endswith((WEIGHTS, MANIFEST))} == lines


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found

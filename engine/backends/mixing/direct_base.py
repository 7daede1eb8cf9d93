"""A Llama read from its own files, for mixing on a processor.

Importing transformers' model classes takes a cold worker longer than reading a small base. Nothing is
read here that transformers would read otherwise: other layouts and tokenizers are left to it.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors import safe_open
from tokenizers import Tokenizer

from engine.backends.mixing.decoder import Decoder, Rope, State

NEEDED = (
    "head_dim", "hidden_act", "hidden_size", "intermediate_size", "num_attention_heads",
    "num_hidden_layers", "num_key_value_heads", "rms_norm_eps", "vocab_size",
)  # fmt: skip
MOST_WORDS = 100_000  # transformers looks for one family's mistake in larger tokenizers
SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")
FILES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
UNDERSTOOD = {
    *SPECIAL, "backend", "chat_template", "clean_up_tokenization_spaces", "is_local",
    "local_files_only", "model_max_length", "name_or_path", "tokenizer_class",
}  # fmt: skip
BESIDE = ("special_tokens_map.json", "added_tokens.json")  # say more of a tokenizer
TOKENIZERS = ("TokenizersBackend", "PreTrainedTokenizerFast")  # tokenizer.json says all of these


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectBase:
    """Stand for a transformers model, as far as make_decoder and make_resident ask."""

    config: SimpleNamespace
    generation_config: SimpleNamespace
    state: State
    rotary: "Rotary"

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def parameters(self) -> Iterable[torch.Tensor]:
        return self.state.values()


class DirectTokenizer:
    """Encode and decode as transformers does; what else is asked for is asked of transformers."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, ids: dict[str, int | None]) -> None:
        self._folder, self._tokenizer = folder, tokenizer
        self.bos_token_id, self.eos_token_id = ids.get("bos_token"), ids.get("eos_token")

    def __call__(
        self, text: str, *, add_special_tokens: bool = True, split_special_tokens: bool = False
    ) -> SimpleNamespace:
        self._tokenizer.encode_special_tokens = split_special_tokens
        ids = self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return SimpleNamespace(input_ids=ids)

    def decode(self, ids: list[int], *, skip_special_tokens: bool = False) -> str:
        return str(self._tokenizer.decode(ids, skip_special_tokens=skip_special_tokens))

    @cached_property
    def _whole(self) -> Any:
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self._folder, local_files_only=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


class Rotary:
    """Give transformers' default rotary embedding, by the same steps."""

    def __init__(self, config: SimpleNamespace) -> None:
        half = torch.arange(0, config.head_dim, 2, dtype=torch.float)
        self._frequencies = 1.0 / (config.rope_parameters["rope_theta"] ** (half / config.head_dim))

    def __call__(self, like: torch.Tensor, positions: torch.Tensor) -> Rope:
        turns = positions[..., None].float() * self._frequencies
        both = torch.cat((turns, turns), dim=-1)
        return both.cos().to(like.dtype), both.sin().to(like.dtype)


def read_directly(folder: Path) -> tuple[DirectBase, DirectTokenizer] | None:
    """Read a base; None for one that transformers alone knows. Raises what its files are wrong with."""
    if not all((folder / name).is_file() for name in FILES) or any(
        (folder / name).exists() for name in BESIDE
    ):
        return None
    said, told = (_json(folder / name) for name in ("config.json", "tokenizer_config.json"))
    if not _known(said, told):
        return None
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    added = {str(t): n for n, t in tokenizer.get_added_tokens_decoder().items() if t.special}
    ids = {name: added.get(told[name]) for name in SPECIAL if told.get(name) is not None}
    if None in ids.values():
        return None  # transformers would add it
    config, state = SimpleNamespace(**said), _state(folder, said)
    if said.get("tie_word_embeddings"):
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    for name, shape in _shapes(config).items():
        if name not in state or state[name].shape != shape:
            raise ValueError(f"its file has no {name} of {' x '.join(map(str, shape))}")
    ends = said.get("eos_token_id")
    if (folder / "generation_config.json").is_file():
        ends = _json(folder / "generation_config.json").get("eos_token_id", ends)
    generation = SimpleNamespace(eos_token_id=ends)
    base = DirectBase(
        config=config, generation_config=generation, state=state, rotary=Rotary(config)
    )
    return base, DirectTokenizer(folder, tokenizer, ids)


def _known(said: dict[str, Any], told: dict[str, Any]) -> bool:
    """Tell whether a model's and a tokenizer's configuration ask for nothing but what is read here."""
    rope = said.get("rope_parameters") or {}
    return (
        said.get("model_type") == "llama"
        and rope.keys() == {"rope_type", "rope_theta"}
        and rope["rope_type"] == "default"
        and all(said.get(name) is not None for name in NEEDED)
        and not (said.get("quantization_config") or said.get("use_bidirectional_attention"))
        and said["vocab_size"] <= MOST_WORDS
        and told.get("tokenizer_class") in TOKENIZERS
        and told.keys() <= UNDERSTOOD
        and not told.get("clean_up_tokenization_spaces")
    )


def _state(folder: Path, said: dict[str, Any]) -> State:
    """Read a copy of every tensor, for what is mapped from a file changes with it; no bias unasked."""
    asked = {"self_attn": said.get("attention_bias"), "mlp": said.get("mlp_bias")}
    with safe_open(folder / "model.safetensors", framework="pt") as file:
        return {
            name: file.get_tensor(name).clone()
            for name in file.keys()  # noqa: SIM118 - it is no mapping
            if not name.endswith(".bias") or asked.get(name.split(".")[-3])
        }


def _shapes(config: SimpleNamespace) -> dict[str, tuple[int, ...]]:
    wide, inner, words = config.hidden_size, config.intermediate_size, config.vocab_size
    query, key = (
        heads * config.head_dim
        for heads in (config.num_attention_heads, config.num_key_value_heads)
    )
    linears = {
        "self_attn.q_proj": (query, wide),
        "self_attn.k_proj": (key, wide),
        "self_attn.v_proj": (key, wide),
        "self_attn.o_proj": (wide, query),
        "mlp.gate_proj": (inner, wide),
        "mlp.up_proj": (inner, wide),
        "mlp.down_proj": (wide, inner),
    }
    block = linears | dict.fromkeys(Decoder.NORMS, (wide,))
    return {
        "model.embed_tokens.weight": (words, wide),
        "model.norm.weight": (wide,),
        "lm_head.weight": (words, wide),
    } | {
        f"model.layers.{number}.{name}.weight": shape
        for number in range(config.num_hidden_layers)
        for name, shape in block.items()
    }


def _json(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found

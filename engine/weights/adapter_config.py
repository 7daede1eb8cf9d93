"""What PEFT's adapter_config.json says of a LoRA, as far as it is understood here.

A key that stands in none of the lists below must be empty: what it asks for may be another sum than
y = Wx + s·BAx, and read as if it were that one the text would be nobody's. Models with keys of their
own can always come merged, as a whole model.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from engine.errors import ModelError
from engine.weights.weight_files import check_adapter

# How it was trained and saved: the sum is the same whatever stands there.
TRAINING = frozenset({
    "auto_mapping", "base_model_name_or_path", "corda_config", "eva_config", "inference_mode",
    "init_lora_weights", "loftq_config", "lora_dropout", "lora_ga_config", "megatron_core",
    "peft_type", "peft_version", "qalora_group_size", "revision", "task_type",
})  # fmt: skip
# More than the sum, which PEFT's own code does, beside others and without changing the base.
BEYOND = frozenset({
    "fan_in_fan_out", "layers_pattern", "lora_bias", "modules_to_save",
    "trainable_token_indices", "use_dora",
})  # fmt: skip
# Starts that leave the base as it is; the others take a part of it into A and B.
SOUND_STARTS = ("true", "false", "none", "gaussian", "orthogonal", "eva")
MERGE = "merge it into its base (PEFT's merge_and_unload) and add the whole model."
CONVERT = "Save it again with path_initial_model_for_weight_conversion (PEFT's save_pretrained)"


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from error
    return pattern


Pattern = Annotated[str, AfterValidator(_compiles)]
Names = Pattern | list[str] | None
Value = TypeVar("Value", int, float)
Rank = Annotated[int, Field(gt=0)]
Alpha = Annotated[float, Field(allow_inf_nan=False)]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterConfig:
    """A LoRA's sum; `beyond` is what it asks for besides, by PEFT's own names."""

    r: Rank = 8
    lora_alpha: Alpha = 8.0
    use_rslora: bool = False
    rank_pattern: dict[Pattern, Rank] = field(default_factory=dict)
    alpha_pattern: dict[Pattern, Alpha] = field(default_factory=dict)
    target_modules: Names = None
    exclude_modules: Names = None
    layers_to_transform: int | list[int] | None = None
    beyond: dict[str, Any] = field(default_factory=dict)

    @property
    def alone(self) -> bool:
        """Whether it wraps whole modules: PEFT puts one wrapper into another where two adapters do."""
        return "modules_to_save" in self.beyond or "trainable_token_indices" in self.beyond

    def rank(self, module: str) -> int:
        return _by_pattern(self.rank_pattern, module, self.r)

    def scale(self, module: str) -> float:
        """alpha / rank, or alpha / sqrt(rank) where rank-stabilised (arXiv 2312.03732)."""
        rank = self.rank(module)
        alpha = _by_pattern(self.alpha_pattern, module, self.lora_alpha)
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)

    def targets(self, module: str) -> bool:
        """Whether it says that it changes a linear, as PEFT's check_target_module_exists reads it."""
        if self.exclude_modules and _named(self.exclude_modules, module):
            return False
        if not self.target_modules or not _named(self.target_modules, module):
            return False
        if isinstance(self.target_modules, str) or self.layers_to_transform in (None, []):
            return True
        layer = re.match(r".*?\.[^.]*\.(\d+)\.", module)
        among = self.layers_to_transform
        among = [among] if isinstance(among, int) else among or []
        return layer is not None and int(layer[1]) in among


SUM = frozenset(part.name for part in fields(AdapterConfig)) - {"beyond"}
_CONFIG = TypeAdapter(AdapterConfig)


def read_config(expert: str, folder: Path) -> AdapterConfig:
    """Read an adapter's configuration. Raises ModelError where a key is not understood."""
    return understand(expert, check_adapter(folder))


def understand(expert: str, raw: Mapping[str, object]) -> AdapterConfig:
    """Do the same for lines that stand elsewhere, as in the header of diffusers' files."""
    said = {k: v for k, v in raw.items() if k in ("r", "lora_alpha") or not _empty(v)}
    start = str(said.get("init_lora_weights", True))
    if start.lower() not in SOUND_STARTS:
        raise ModelError(
            f"The adapter of {expert} was begun with init_lora_weights = {start}, which may have taken "
            f"a part of the base into it, so it belongs on what was left of that. {CONVERT}, or {MERGE}"
        )
    for key in sorted(set(said) - TRAINING - SUM - BEYOND):
        raise ModelError(
            f"The adapter of {expert} has {key} = {str(said[key])[:60]} in its configuration, which "
            f"is not understood here. Save it without, or {MERGE}"
        )
    sums = {key: value for key, value in said.items() if key in SUM}
    beyond = {key: value for key, value in said.items() if key in BEYOND}
    try:
        return _CONFIG.validate_python({**sums, "beyond": beyond})
    except ValidationError as error:
        wrong = error.errors()[0]
        raise ModelError(
            f"The adapter of {expert} has {wrong['loc'][0]} = {str(wrong['input'])[:60]} in its "
            f"configuration; {wrong['msg'].lower()}. Restore the file, or save the adapter again."
        ) from error


def _empty(value: object) -> bool:
    """Tell None, False and nothing; but not 0, which names a layer."""
    return value is None or value is False or value in ("", "none", [], {})


def _named(names: str | list[str], module: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return module in names or any(module.endswith(f".{name}") for name in names)


def _by_pattern(patterns: Mapping[str, Value], module: str, otherwise: Value) -> Value:
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return value
    return otherwise

"""A base and its adapters in memory: the one place that opens model files.

Only safetensors and GGUF are read, code from a repository never is. Every digest is taken from the
files themselves.
"""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.errors import ModelError, in_one_line
from engine.plan.cards import Weights
from engine.weights.adapter_fit import check_fit
from engine.weights.bases import fetch, find_base, is_whole_model
from engine.weights.weight_files import check_weights, checked_digest, digest_of

BITS_AND_BYTES = ("nf4", "bnb8")  # precisions that only transformers' own path computes in
SMALL_BYTES = 2 << 30  # a base with less weight than this runs in float32 on a CPU: faster there

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Loaded:
    """One resident base; `model` becomes a PeftModel with the first adapter.

    `cache` is transformers' kind of key-value cache: "static" has fixed shapes, which is what lets
    transformers compile the decoding step and capture it as CUDA graphs on a GPU. (Never run there.)
    """

    model: Any
    tokenizer: Any
    digest: str
    window: int
    adapters: dict[str, str] = field(default_factory=dict)  # expert -> digest
    cache: str = "dynamic"
    spoilt: bool = False  # a load failed half way: nothing may be written with it any more

    def adopt(self, expert: str, folder: Path, digest: str) -> None:
        """Load an adapter beside the others, under the expert's name. Raises ModelError."""
        import torch
        from peft import PeftModel, PeftModelForCausalLM

        found = checked_digest(expert, folder, digest)
        lora = check_fit(expert, folder, self.model.config)
        try:
            with torch.no_grad():
                if isinstance(self.model, PeftModel):
                    self.model.add_adapter(expert, lora)
                else:
                    self.model = PeftModelForCausalLM(self.model, lora, adapter_name=expert)
                loaded = self.model.load_adapter(folder, adapter_name=expert, use_safetensors=True)
            if odd := loaded.unexpected_keys:
                raise ValueError(f"{odd[0]} and {len(odd) - 1} more found no place.")
        except Exception as error:
            self.spoilt = True  # PEFT takes nothing out again
            raise ModelError(
                f"The adapter of {expert} does not fit its base: {in_one_line(error)}"
            ) from error
        self.model.eval()
        self.adapters[expert] = found


def resolve(weights: Weights) -> tuple[Weights, Path | None]:
    """What to load: the base, and the adapter's folder if there is one.

    A merged full model in the adapter's place becomes the base (weights.adapter still names it). An
    adapter that is named but not there yet (a card written before its training) is none.
    """
    if not weights.adapter:
        return weights, None
    folder = Path(weights.adapter)
    if not folder.is_absolute():
        folder = fetch(weights.adapter, weights.revision)
    if not folder.exists():
        if weights.digest:
            raise ModelError(f"The adapter {folder} is on its card but not on disk. Add it anew.")
        return replace(weights, adapter=""), None
    if is_whole_model(folder):
        return replace(weights, base=str(folder)), None
    return weights, folder


def resolve_for(weights: Weights, *, plain: bool) -> tuple[Weights, Path | None]:
    """Resolve what to load for a job: a plain one has the base alone."""
    return resolve(replace(weights, adapter="", digest="") if plain else weights)


def load_base(spec: str, models: Path, precision: str = "auto") -> Loaded:
    """Load base and tokenizer; in 4 or 8 bits for `nf4` or `bnb8`. Raises ModelError."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    path = fetch(find_base(spec, models))
    options: dict[str, Any] = {"local_files_only": True}
    folder = path
    if path.suffix == ".gguf" and precision in BITS_AND_BYTES:
        raise ModelError(f"{spec} is a GGUF file, which precision = {precision} cannot read.")
    if path.suffix == ".gguf":
        folder, options["gguf_file"] = path.parent, path.name
    else:
        check_weights(path)
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
        if path.suffix == ".gguf":
            options["quantization_config"] = transformers.GgufConfig(dequantize=True)
        else:
            options["use_safetensors"] = True
        device, dtype = _placement(path)
        if precision in BITS_AND_BYTES:
            options |= {"quantization_config": _bits(precision, dtype), "device_map": {"": device}}
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **options)
        if precision in BITS_AND_BYTES:  # it is where it belongs already
            keep_layout(model)
        else:
            model.to(device)
        model.eval().requires_grad_(False)  # the thread's own switch would reach who trains in it
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(f"The base {spec} cannot be loaded: {in_one_line(error)}") from error
    log.info("base loaded", extra={"base": spec, "device": device, "dtype": str(dtype)})
    window = int(getattr(model.config, "max_position_embeddings", 2048))
    cache = "static" if device == "cuda" else "dynamic"
    return Loaded(
        model=model, tokenizer=tokenizer, digest=digest_of(path), window=window, cache=cache
    )


def keep_layout(model: Any) -> None:
    """Stop bitsandbytes from repacking 4-bit weights on a processor with AVX512-BF16.

    Its first forward pass without gradients (a validation) repacks them for speed; the backward
    passes that follow then read the new layout as the old, and gradients are wrong (seen in 0.50.2:
    gradient norm 0.23 in place of 0.70). A matrix narrower than its blocks cannot be repacked at all.
    """
    for module in model.modules():
        if getattr(module, "support_avx512bf16_for_cpu", False):
            module.support_avx512bf16_for_cpu = False


def _bits(precision: str, dtype: Any) -> Any:
    """Configure bitsandbytes: NF4 with double quantisation, or LLM.int8()."""
    import transformers

    if precision == "bnb8":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def _placement(path: Path) -> tuple[str, Any]:
    """Choose device and dtype: bfloat16 where fast or memory is short, float32 for a small CPU base."""
    import torch

    if torch.cuda.is_available():
        return "cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if torch.backends.mps.is_available():
        return "mps", torch.bfloat16
    files = [path] if path.is_file() else path.glob("*.safetensors")
    small = sum(file.stat().st_size for file in files) < SMALL_BYTES
    return "cpu", torch.float32 if small else torch.bfloat16

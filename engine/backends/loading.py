"""A base and its adapters in memory: the one place that opens model files.

Only safetensors and GGUF are read, code from a repository never is. Every digest is taken from the
files themselves.
"""

import logging
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from engine.bases import fetch, find_base, is_whole_model
from engine.errors import ModelError
from engine.registry import Weights
from engine.weights import check_weights, checked_digest, digest_of

SMALL_BYTES = 2 << 30  # a base with less weight than this runs in float32 on a CPU: faster there

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Loaded:
    """One resident base; `model` becomes a PeftModel with the first adapter."""

    model: Any
    tokenizer: Any
    digest: str
    window: int
    adapters: dict[str, str] = field(default_factory=dict)  # expert -> digest

    def adopt(self, expert: str, folder: Path, digest: str) -> None:
        """Load an adapter beside the others, under the expert's name. Raises ModelError."""
        import torch
        from peft import PeftModel

        found = checked_digest(expert, folder, digest)
        try:
            if isinstance(self.model, PeftModel):
                self.model.load_adapter(folder, adapter_name=expert, use_safetensors=True)
            else:
                with torch.no_grad():
                    self.model = PeftModel.from_pretrained(
                        self.model, folder, adapter_name=expert, use_safetensors=True
                    )
        except (RuntimeError, ValueError, KeyError, OSError) as error:
            raise ModelError(
                f"The adapter of {expert} does not fit its base: {str(error).splitlines()[0]}"
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
    """What to load for a job: as `resolve`, but a plain one has the base alone."""
    return resolve(replace(weights, adapter="", digest="") if plain else weights)


def load_base(spec: str, models: Path) -> Loaded:
    """Base and tokenizer, ready to generate. Raises ModelError."""
    import torch
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    path = fetch(find_base(spec, models))
    options: dict[str, Any] = {"local_files_only": True}
    folder = path
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
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **options)
        model.to(device).eval()
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(
            f"The base {spec} cannot be loaded: {str(error).splitlines()[0]}"
        ) from error
    torch.set_grad_enabled(False)
    log.info("base loaded", extra={"base": spec, "device": device, "dtype": str(dtype)})
    window = int(getattr(model.config, "max_position_embeddings", 2048))
    return Loaded(model=model, tokenizer=tokenizer, digest=digest_of(path), window=window)


def _placement(path: Path) -> tuple[str, Any]:
    """Device and dtype: bfloat16 where it is fast or memory is short, float32 for a small CPU base."""
    import torch

    if torch.cuda.is_available():
        return "cuda", torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    if torch.backends.mps.is_available():
        return "mps", torch.bfloat16
    files = [path] if path.is_file() else path.glob("*.safetensors")
    small = sum(file.stat().st_size for file in files) < SMALL_BYTES
    return "cpu", torch.float32 if small else torch.bfloat16

"""A base and its adapters in memory: the one place that opens model files, safetensors and GGUF only,
never a repository's code. Every digest is taken from the files themselves."""

import logging
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import ModelError, in_one_line
from engine.plan.cards import Expert, Registry, Weights
from engine.settings import Settings
from engine.weights.adapter_fit import check_fit
from engine.weights.bases import fetch, find_base, is_whole_model
from engine.weights.weight_files import check_adapter, check_weights, compared_digest, digest_of

if TYPE_CHECKING:
    from engine.plan.job import Job

RESIDENT_BASES = 2  # merged full models are bases too; the one unused for longest goes
SMALL_BYTES = 2 << 30  # a base with less weight than this runs in float32 on a CPU: faster there

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Loaded:
    """Hold a base in memory; `model` becomes a PeftModel with the first adapter. A "static" `cache` has
    fixed shapes, so that transformers can capture the decoding step as CUDA graphs."""

    model: Any
    tokenizer: Any
    digest: str
    window: int
    adapters: dict[str, str] = field(default_factory=dict)  # expert -> digest
    cache: str = "dynamic"
    spoilt: bool = False  # a load failed half way: nothing may be written with it any more

    def adopt(self, expert: str, folder: Path, digest: str) -> None:
        import torch
        from peft import PeftModel, PeftModelForCausalLM

        check_adapter(folder)
        found = compared_digest(f"The adapter of {expert}", folder, digest)
        lora = check_fit(expert, folder, self.model.config)
        named = f"expert {expert}"  # none that torch has for its own ("children", "half")
        try:
            with torch.no_grad():
                if isinstance(self.model, PeftModel):
                    self.model.add_adapter(named, lora)
                else:
                    self.model = PeftModelForCausalLM(self.model, lora, adapter_name=named)
                loaded = self.model.load_adapter(folder, adapter_name=named, use_safetensors=True)
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
    """Find the base and the adapter's folder; a merged model in that's place becomes the base."""
    folder = find_adapter(weights)
    if folder is None:
        return replace(weights, adapter=""), None
    if is_whole_model(folder):
        return replace(weights, base=str(folder)), None
    return weights, folder


def find_adapter(weights: Weights) -> Path | None:
    """Find the adapter's files; None if the card names none, or one still to be trained (no digest)."""
    if not weights.adapter:
        return None
    place = Path(weights.adapter)
    if not place.is_absolute():
        place = fetch(weights.adapter, weights.revision)
    if place.exists():
        return place
    if weights.digest:
        raise ModelError(f"The adapter {place} is on its card but not on disk. Add it anew.")
    return None


def end_tokens(model: Any, tokenizer: Any) -> tuple[int, ...]:
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    return tuple(ends) if isinstance(ends, list) else () if ends is None else (ends,)


def expert_of(registry: Registry, job: "Job") -> Expert:
    if (expert := registry.named(job.expert) or registry.learn().named(job.expert)) is None:
        why = "put its card back, or restart the bot"
        raise ModelError(f"There is no expert {job.expert!r} here: {why}.")
    return expert


class ExpertFiles:
    """Say which base and adapter an expert's jobs need; each is looked up on disk once."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self._found: dict[tuple[str, bool], tuple[Weights, Path | None]] = {}

    def of(self, expert: Expert, *, plain: bool) -> tuple[Weights, Path | None]:
        """Give what `resolve` finds; a plain job has the base alone. Raises ModelError."""
        key = expert.name, plain
        if key not in self._found:
            weights = self.registry.weights(expert)
            alone = replace(weights, adapter="", digest="")
            self._found[key] = resolve(alone if plain else weights)
        return self._found[key]

    def merged(self, expert: Expert, base_digest: str, *, plain: bool) -> str:
        """Give the digest of a merged model in an adapter's place, "" without one. Raises ModelError."""
        weights, adapter = self.of(expert, plain=plain)
        if not weights.adapter or adapter is not None:
            return ""
        if weights.digest not in ("", base_digest):
            raise ModelError(f"The model of {expert.name} is not the one on its card. Add it anew.")
        return base_digest


def use_threads(settings: Settings) -> None:
    """Set torch's threads: half of the cores unless the settings say otherwise."""
    import torch

    torch.set_num_threads(settings.threads or max(1, (os.cpu_count() or 2) // 2))


def load_base(spec: str, models: Path, *, direct: bool = False) -> Loaded:
    """Load a base; a `direct` one, for mixing alone, without transformers where that can be left out."""
    import torch

    path = fetch(find_base(spec, models))
    gguf = path.suffix == ".gguf"
    if not gguf:
        check_weights(path)
    with loading(f"The base {spec}"), ThreadPoolExecutor(max_workers=1) as beside:
        digest = beside.submit(digest_of, path)
        device, dtype = placement([path] if gguf else path.glob("*.safetensors"))
        read = None
        if direct and not gguf and (device, dtype) == ("cpu", torch.float32):
            from engine.backends.mixing.direct_base import read_directly

            read = read_directly(path)
        model, tokenizer = read or _by_transformers(path, device, dtype)
        found = digest.result()
    log.info("base loaded", extra={"base": spec, "device": device, "dtype": str(dtype)})
    window = int(getattr(model.config, "max_position_embeddings", 2048))
    cache = "static" if device == "cuda" else "dynamic"
    return Loaded(model=model, tokenizer=tokenizer, digest=found, window=window, cache=cache)


def _by_transformers(path: Path, device: str, dtype: Any) -> tuple[Any, Any]:
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    folder = path
    options: dict[str, Any] = {"local_files_only": True}
    if path.suffix == ".gguf":
        folder, options["gguf_file"] = path.parent, path.name
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
    if path.suffix == ".gguf":
        options["quantization_config"] = transformers.GgufConfig(dequantize=True)
    else:
        options["use_safetensors"] = True
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, **options)
    # not by the thread's own switch, which would reach who trains in it
    return model.to(device).eval().requires_grad_(False), tokenizer


def placement(files: Iterable[Path]) -> tuple[str, Any]:
    """Choose device and dtype: half precision on an accelerator, float32 for a small base on a CPU."""
    import torch

    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)  # a T4 has none of its own
        return "cuda", torch.bfloat16 if fast else torch.float16
    if torch.backends.mps.is_available():
        return "mps", torch.bfloat16
    small = sum(file.stat().st_size for file in files) < SMALL_BYTES
    return "cpu", torch.float32 if small else torch.bfloat16


@contextmanager
def loading(what: str) -> Iterator[None]:
    """Turn what a library raises while it loads something into a ModelError."""
    try:
        yield
    except Exception as error:  # tokenizers raises no narrower one
        raise ModelError(f"{what} cannot be loaded: {in_one_line(error)}") from error

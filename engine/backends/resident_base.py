"""A base that is in memory for mixing: its decoder, its batch, and its adapters with their digests."""

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.backends.model_loading import Loaded, end_tokens
from engine.backends.prompt_window import prompt_ids
from engine.errors import UnmixableError
from engine.settings import Settings
from engine.weights.weight_files import check_adapter, compared_digest

if TYPE_CHECKING:
    from engine.backends.counters import Counters
    from engine.backends.job_channel import JobChannel
    from engine.backends.mixing.adapters import AdapterKey
    from engine.backends.mixing.kernels import Precision
    from engine.backends.mixing.scheduler import MixingScheduler

SMALL_PARAMETERS = 50_000_000  # below, bfloat16 wins nothing on a CPU

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class ResidentBase:
    tokenizer: Any
    digest: str
    window: int
    ends: tuple[int, ...]
    mixer: "MixingScheduler"
    adapters: dict[str, "AdapterKey"] = field(default_factory=dict)  # by expert

    def has(self, expert: str) -> bool:
        return expert in self.adapters and self.mixer.has(self.adapters[expert])

    def adopt(self, expert: str, folder: Path, digest: str) -> None:
        """Load an expert's adapter. Raises ModelError, UnmixableError if PEFT can serve it."""
        from engine.backends.mixing.adapters import AdapterKey, read_adapter

        check_adapter(folder)
        key = AdapterKey(compared_digest(f"The adapter of {expert}", folder, digest))
        self.mixer.adopt(key, read_adapter(expert, folder, self.mixer.decoder.shapes))
        self.adapters[expert] = key

    def seat(self, channel: "JobChannel", bans: Sequence[str], merged: str) -> None:
        """Queue a job; `bans` are its card's, `merged` the digest of a model in an adapter's place."""
        from engine.backends.mixing.adapters import BARE
        from engine.backends.mixing.sequence import TextSequence

        job = channel.job
        ids, notes = prompt_ids(job, self.tokenizer, self.window)
        key = BARE if job.plain else self.adapters.get(job.expert, BARE)
        row = TextSequence(
            job=job,
            adapter=key,
            tokens=ids,
            notes=notes,
            tokenizer=self.tokenizer,
            ends=self.ends,
            digests=(self.digest, key or merged),
            stopped=channel.stopped,
            emit=channel.emit,
            bans=bans,
        )
        self.mixer.add(row)


def make_resident(loaded: Loaded, settings: Settings, gauges: "Counters") -> ResidentBase:
    """Use a loaded base's transformers model up. Raises UnmixableError, and then it is as it was."""
    from engine.backends.mixing.layouts import make_decoder
    from engine.backends.mixing.scheduler import MixingScheduler

    model, tokenizer = loaded.model, loaded.tokenizer
    if settings.text_engine == "peft":
        raise UnmixableError("The settings say text_engine = peft.")
    if settings.text_engine != "mixing" and model.device.type not in ("cpu", "cuda"):
        raise UnmixableError("Mixing was not tried on this device; text_engine = mixing dares it.")
    ends = end_tokens(model, tokenizer)
    precision = choose_precision(settings, model)
    decoder = make_decoder(model, precision)
    loaded.model = model = None
    gc.collect()
    log.info("base made ready for mixing", extra={"precision": precision})
    mixer = MixingScheduler(decoder, gauges, settings.slots)
    digest, window = loaded.digest, loaded.window
    return ResidentBase(tokenizer=tokenizer, digest=digest, window=window, ends=ends, mixer=mixer)


def choose_precision(settings: Settings, model: Any) -> "Precision":
    """Take the settings' precision, or bfloat16 where the processor multiplies in it and it pays."""
    import torch

    if settings.precision != "auto":
        return settings.precision
    if model.device.type != "cpu":
        return "fp32" if model.dtype == torch.float32 else "bf16"
    small = sum(p.numel() for p in model.parameters()) < SMALL_PARAMETERS
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() and not small else "fp32"

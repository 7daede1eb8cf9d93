"""A base that is in memory for mixing: its decoder, its batch, and its adapters with their digests."""

import gc
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from engine.backends.loading import BITS_AND_BYTES, Loaded
from engine.backends.window import prompt_ids
from engine.settings import Settings
from engine.weights import checked_digest

if TYPE_CHECKING:
    from engine.backends.gauges import Gauges
    from engine.backends.mixing.kernels import Precision
    from engine.backends.mixing.scheduler import Mixer
    from engine.backends.tickets import Ticket

SMALL_PARAMETERS = 50_000_000  # below, bfloat16 wins nothing on a CPU

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Resident:
    """One base. `ends` are the tokens that end an answer."""

    tokenizer: Any
    digest: str
    window: int
    ends: tuple[int, ...]
    mixer: "Mixer"
    adapters: dict[str, str] = field(default_factory=dict)  # expert -> digest

    def adopt(self, expert: str, folder: Path, digest: str) -> None:
        """Take an expert's adapter in. Raises ModelError, UnmixableError if PEFT can serve it."""
        from engine.backends.mixing.adapters import read_adapter

        found = checked_digest(expert, folder, digest)
        adapter = read_adapter(expert, folder, self.mixer.decoder.shapes)
        self.adapters[expert] = found
        for left in self.mixer.adopt(expert, adapter):
            log.info("an adapter left memory", extra={"expert": left, "for": expert})
            del self.adapters[left]

    def seat(self, ticket: "Ticket", merged: str) -> None:
        """Put a job in line; `merged` is the digest of a merged model in an adapter's place."""
        from engine.backends.mixing.row import Row

        job = ticket.job
        ids, notes = prompt_ids(job, self.tokenizer, self.window)
        digests = (self.digest, self.adapters.get(job.adapter, merged))
        self.mixer.add(
            Row(job, ids, notes, self.tokenizer, self.ends, digests, ticket.stopped, ticket.emit)
        )


def make_resident(loaded: Loaded, settings: Settings, gauges: "Gauges") -> Resident:
    """Take a loaded base over; its transformers model is used up by it. Raises UnmixableError, and
    then the loaded base is as it was."""
    from engine.backends.mixing.adapters import UnmixableError
    from engine.backends.mixing.layouts import make_decoder
    from engine.backends.mixing.scheduler import Mixer

    model, tokenizer = loaded.model, loaded.tokenizer
    if settings.text_engine == "peft":
        raise UnmixableError("The settings say text_engine = peft.")
    if settings.precision in BITS_AND_BYTES:
        raise UnmixableError(f"precision = {settings.precision} is computed one by one.")
    if settings.text_engine == "auto" and model.device.type != "cpu":
        raise UnmixableError("Mixing was not tried on this device; text_engine = mixing dares it.")
    ends = model.generation_config.eos_token_id
    ends = tokenizer.eos_token_id if ends is None else ends
    precision = choose_precision(settings, model)
    decoder = make_decoder(model, precision, tokenizer)
    loaded.model = model = None
    gc.collect()
    log.info("base made ready for mixing", extra={"precision": precision})
    return Resident(
        tokenizer=tokenizer,
        digest=loaded.digest,
        window=loaded.window,
        ends=tuple(ends) if isinstance(ends, list) else () if ends is None else (ends,),
        mixer=Mixer(decoder, gauges, settings.slots),
    )


def choose_precision(settings: Settings, model: Any) -> "Precision":
    """The settings' own, or bfloat16 where the processor multiplies in it and it pays."""
    import torch

    if settings.precision not in ("auto", *BITS_AND_BYTES):
        return cast("Precision", settings.precision)
    if model.device.type != "cpu":
        return "fp32" if model.dtype == torch.float32 else "bf16"
    small = sum(p.numel() for p in model.parameters()) < SMALL_PARAMETERS
    return "bf16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() and not small else "fp32"

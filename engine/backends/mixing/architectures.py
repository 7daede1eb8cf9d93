"""Which models the mixing engine knows."""

from typing import Any

from engine.backends.mixing.decoder import Decoder
from engine.backends.mixing.gemma import Gemma2, Gemma3
from engine.backends.mixing.kernels import Precision
from engine.backends.mixing.llama import Llama
from engine.errors import UnmixableError

LAYOUTS: dict[str, type[Decoder]] = {"llama": Llama, "gemma2": Gemma2, "gemma3_text": Gemma3}
FIXED_ROPES = ("default", "linear", "llama3", "yarn")  # the others change with a text's length


def make_decoder(model: Any, precision: Precision) -> Decoder:
    config = model.config
    layout = LAYOUTS.get(config.model_type)
    if layout is None:
        raise UnmixableError(f"The architecture {config.model_type} is not among {tuple(LAYOUTS)}.")
    if getattr(config, "use_bidirectional_attention", False):
        raise UnmixableError("The model attends in both directions.")
    ropes = config.rope_parameters
    for rope in [ropes] if "rope_type" in ropes else ropes.values():
        if rope and rope.get("rope_type", "default") not in FIXED_ROPES:
            raise UnmixableError(f"Its rotary positions are of the kind {rope['rope_type']}.")
    if getattr(model, "quantization_method", None):
        raise UnmixableError("Its weights are quantised by another library.")
    return layout(model, precision)

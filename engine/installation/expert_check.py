"""Whether an expert's adapter fits its base, as far as both are on this machine."""

import warnings
from pathlib import Path

from engine.plan.cards import Medium
from engine.weights.adapter_config import read_config
from engine.weights.bases import place_here
from engine.weights.weight_files import is_pipeline


def check_expert(name: str, medium: Medium, adapter: Path, base: str, models: Path) -> None:
    """Raise ModelError unless every tensor has its place in the base, and every setting is understood.

    Of a base that is not here yet no more is known than its name. Takes seconds where torch is not
    imported yet.
    """
    here = place_here(base, models)
    if medium == "image":
        from engine.weights.layer_names import layers_in
        from engine.weights.lora_format import read_lora

        read_lora(name, adapter, layers_in(here) if here and is_pipeline(here) else None)
    elif here is None:
        read_config(name, adapter)
    else:
        from engine.weights.adapter_fit import check_fit

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # the libraries' own, to each other
            check_fit(name, adapter, here)

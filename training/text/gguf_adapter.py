"""Write a text adapter as a GGUF file, for llama.cpp and what is built upon it."""

import json
import math
from pathlib import Path
from typing import Any

from engine.files import whole_file
from training.errors import NotPublished

ARCHITECTURES = {  # by transformers' model_type: llama.cpp's
    "llama": "llama",
    "gemma2": "gemma2",
    "gemma3_text": "gemma3",
}
PREFIX, SUFFIX = "base_model.model.", ".weight"


def write_gguf(adapter: Path, path: Path, base: Any, half: bool) -> None:
    """Name PEFT's tensors as llama.cpp does; `base` is the config of the model under the adapter.

    llama.cpp divides alpha by the rank, so that of an rsLoRA is raised by the rank's root. Its Llama
    turns the halves of a head's rotary positions into pairs: rows of q and k are put in that order.
    """
    import gguf
    from safetensors.torch import load_file

    settings = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    name = ARCHITECTURES.get(base.model_type)
    if name is None or settings.get("use_dora"):
        what = "a DoRA" if name else f"an adapter of {base.model_type}"
        raise NotPublished(f"llama.cpp cannot take {what}, so no GGUF file was written.")
    kind = next(key for key, value in gguf.MODEL_ARCH_NAMES.items() if value == name)
    names = gguf.get_tensor_name_map(kind, base.num_hidden_layers)
    alpha, rank = float(settings["lora_alpha"]), int(settings["r"])
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as part:
        writer = gguf.GGUFWriter(part, name)
        writer.add_type(gguf.GGUFType.ADAPTER)
        writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
        effective = alpha * math.sqrt(rank) if settings.get("use_rslora") else alpha
        writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, effective)
        for key, tensor in sorted(load_file(adapter / "adapter_model.safetensors").items()):
            module, _, matrix = key.removeprefix(PREFIX).removesuffix(SUFFIX).rpartition(".")
            target = names.get_name(module + SUFFIX, try_suffixes=(SUFFIX,))
            if target is None or matrix not in ("lora_A", "lora_B"):
                raise NotPublished(f"llama.cpp has no place for {key}; no GGUF file was written.")
            values = tensor.float().numpy()
            if name == "llama" and matrix == "lora_B" and module.endswith(("q_proj", "k_proj")):
                query = module.endswith("q_proj")
                values = paired(
                    values, base.num_attention_heads if query else base.num_key_value_heads
                )
            writer.add_tensor(f"{target}.{matrix.lower()}", values.astype("f2" if half else "f4"))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()


def paired(values: Any, heads: int) -> Any:
    """Put the rows of each head's two halves in turn.

    >>> import numpy
    >>> paired(numpy.arange(8), heads=2).tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    halves = values.reshape(heads, 2, values.shape[0] // heads // 2, *values.shape[1:])
    return halves.swapaxes(1, 2).reshape(values.shape)

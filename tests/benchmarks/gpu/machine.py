"""The card, the versions, and which packages are missing."""

import importlib.metadata
import importlib.util
import subprocess
import sys
from typing import Any

PACKAGES = (
    "torch", "transformers", "peft", "accelerate", "diffusers", "bitsandbytes", "vllm", "triton",
    "safetensors", "tokenizers", "pydantic",
)  # fmt: skip
WANTED = ("pydantic", "pydantic_settings", "platformdirs", "diffusers", "bitsandbytes", "vllm")


def is_there(name: str) -> bool:
    """Whether a package can be imported, without doing so."""
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def facts_of(device: str, *, tiny: bool) -> dict[str, Any]:
    """The card and the versions, and which packages are missing."""
    import torch

    found: dict[str, Any] = {"device": device, "tiny": tiny, "python": sys.version.split()[0]}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    found["wheels missing"] = [name for name in WANTED if not is_there(name)]
    if device == "cuda":
        card = torch.cuda.get_device_properties(0)
        found |= {
            "card": card.name,
            "capability": f"{card.major}.{card.minor}",
            "memory_gib": round(card.total_memory / 2**30, 1),
            "multiprocessors": card.multi_processor_count,
            "cuda": torch.version.cuda,
            "driver": _driver(),
            "bf16": torch.cuda.is_bf16_supported(),
        }
    return found


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"

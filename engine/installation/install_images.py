"""What `experts add` knows of pictures: telling a LoRA from a text adapter, keeping a card's manner."""

import tomllib
from pathlib import Path
from typing import Any

from engine.errors import LimitError
from engine.plan.cards import CARD, Registry
from engine.weights.picture_lora import check_lora
from engine.weights.weight_files import (
    check_adapter,
    check_pipeline,
    is_adapter,
    is_pipeline,
    lora_file,
)

KEPT = (  # of a card that is replaced
    "about", "order", "keywords", "label", "command", "template", "sampling", "drawing",
)  # fmt: skip


def draws_pictures(source: Path) -> bool:
    if is_adapter(source):
        mapping = check_adapter(source).get("auto_mapping")
        return isinstance(mapping, dict) and "UNet" in str(mapping.get("base_model_class", ""))
    return source.is_file() or is_pipeline(source) or lora_file(source) is not None


def check_pictures(source: Path) -> bool:
    """Tell a whole image base from a LoRA, after checking it. Raises ModelError or LimitError."""
    if is_pipeline(source):
        check_pipeline(source)
        return True
    file = check_lora(source)
    from safetensors import safe_open

    with safe_open(file, framework="np") as weights:
        names = list(weights.keys())
    if not names or not all("lora" in name or name.endswith(".alpha") for name in names):
        raise LimitError(
            f"{file} is no LoRA. A whole model must be a folder in diffusers' layout, with a "
            "model_index.json."
        )
    return False


def inherited(registry: Registry, name: str, medium: str) -> dict[str, Any]:
    """Collect what a new expert takes over from one of its name and medium: `card` holds lines of the
    card, `weights` those of a picture expert's profile, paths made absolute."""
    old = registry.named(name)
    if old is None or medium != old.medium:
        return {}
    lines = tomllib.loads((old.folder / CARD).read_text(encoding="utf-8"))
    card = {key: lines[key] for key in KEPT if key in lines}
    if medium == "text":
        return {"card": card}
    weights = registry.weights(old)
    parts = {part: v for part in ("base", "vae", "speed") if (v := getattr(weights, part))}
    own = lines["profiles"][registry.profile].get("drawing")
    return {"card": card, "weights": {**parts, **({"drawing": own} if own else {})}}

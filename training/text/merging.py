"""Work an adapter into its base's weights, for tools that know no adapters."""

from pathlib import Path
from typing import Any

from engine.files import whole_folder
from engine.weights.weight_files import digest_of
from training.errors import NotPublished
from training.run.recipe import Recipe
from training.text.bases import load_tokenizer, load_whole

CLOSE = 5e-2  # greatest difference of log probabilities between adapter and merged model


def write_merged(
    recipe: Recipe, adapter: Path, folder: Path, base: Path | None, replace: bool
) -> dict[str, Any]:
    """Merge into whole weights (never into 4-bit ones), check the outputs agree, save.

    A merge into quantised weights, or one that changes nothing, is the usual fault (peft #1043).
    """
    from peft import PeftModel

    require_replaceable(folder, replace)
    tokenizer = load_tokenizer(recipe.base, base)
    model: Any = PeftModel.from_pretrained(load_whole(recipe, base), adapter).eval()
    with model.disable_adapter():
        plain = probabilities(model, tokenizer)
    before = probabilities(model, tokenizer)
    merged = model.merge_and_unload()
    after = probabilities(merged, tokenizer)
    difference = float((before - after).abs().max())
    if difference > CLOSE:
        raise NotPublished(
            f"The merged model differs from base and adapter by {difference:.3f} in log "
            "probability; it was not written. Train and merge in the same precision."
        )
    with whole_folder(folder) as part:
        merged.save_pretrained(part, safe_serialization=True)
        tokenizer.save_pretrained(part)
    moved = float((before - plain).abs().max())
    return {"digest": digest_of(folder), "difference": difference, "adapter_moves": moved}


def require_replaceable(folder: Path, replace: bool) -> None:
    """Raise NotPublished unless `folder` is new or empty, or holds a model to be replaced."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / "config.json").exists():
        raise NotPublished(
            f"{folder} holds something that is no model (no config.json), and was left as it is. "
            "Choose another folder for --merge."
        )
    if not replace:
        raise NotPublished(f"{folder} is not empty, and was left as it is. Use --replace.")


def probabilities(model: Any, tokenizer: Any) -> Any:
    """Give log probabilities of every next token in one plain sentence."""
    import torch

    ids = tokenizer("They sat alone in the darkened room.", return_tensors="pt").input_ids
    with torch.inference_mode():
        logits = model(input_ids=ids.to(model.device)).logits.float()
    return torch.log_softmax(logits, dim=-1)

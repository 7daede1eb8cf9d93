"""What PEFT itself would write, token by token."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any


def on_base(base: Path, adapter: Path | None = None, device: str = "cpu") -> Any:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    # older transformers' other ways leave Gemma 2's cap out
    model = AutoModelForCausalLM.from_pretrained(base, attn_implementation="eager")
    model = model.to(device).eval()
    return model if adapter is None else PeftModel.from_pretrained(model, adapter).eval()


@cache
def peft_model(root: Path, layout: str, expert: str, device: str = "cpu") -> Any:
    """One of the shared layouts' experts, or the `bare` base, loaded once in a process."""
    return on_base(root / layout, None if expert == "bare" else root / f"{layout}-{expert}", device)


def choices(
    model: Any, prompt: list[int], tokens: list[int], processors: Sequence[Any]
) -> list[int]:
    """What it would choose after the prompt and each start of the tokens: these themselves, if they are
    its greedy answer. One pass says so, where its own `generate` takes one for each token."""
    import torch

    ids = torch.tensor([[*prompt, *tokens]], device=model.device)
    with torch.inference_mode():
        logits = model(ids).logits
    chosen = []
    for end in range(len(prompt), len(prompt) + len(tokens)):
        scores = logits[:, end - 1]
        for process in processors:
            scores = process(ids[:, :end], scores)
        chosen.append(int(scores.argmax()))
    return chosen

"""Generate samples in batches, with the sampling of an expert's card."""

from collections.abc import Sequence
from typing import Any

import torch

from engine.plan.cards import Sampling
from training.text.data.blocks import opening_token, plain_tokens

BATCH = 10


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[str],
    sampling: Sampling,
    seed: int,
    length: int,
) -> list[str]:
    """Continue each prompt once; repeatable by seed on one machine."""
    torch.manual_seed(seed)
    texts: list[str] = []
    for start in range(0, len(prompts), BATCH):
        ids, mask = left_padded(tokenizer, prompts[start : start + BATCH])
        with torch.inference_mode():
            answers = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                do_sample=True,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                repetition_penalty=sampling.repetition_penalty,
                max_new_tokens=length,
                min_new_tokens=length // 2,
                pad_token_id=0,
            )[:, ids.shape[1] :]
        texts += [tokenizer.decode(row, skip_special_tokens=True).strip() for row in answers]
    return texts


def left_padded(tokenizer: Any, prompts: Sequence[str]) -> tuple[Any, Any]:
    """Pad token ids and mask on the left, so that all prompts end together."""
    bos = opening_token(tokenizer)
    rows = [plain_tokens(tokenizer, prompt) for prompt in prompts]
    if bos is not None:
        rows = [[bos, *row] for row in rows]
    longest = max(map(len, rows))
    ids = torch.tensor([[0] * (longest - len(row)) + row for row in rows])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows])
    return ids, mask

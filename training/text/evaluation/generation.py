"""Generate samples in batches, drawn as the bot draws its answers."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from engine.backends.mixing.sampler import ChosenTokens
from engine.backends.model_loading import end_tokens
from engine.backends.prompt_window import plain_tokens
from engine.backends.row_sampler import RowSampler
from engine.plan.cards import Expert
from engine.plan.job import Job
from training.text.data.blocks import opening_token

BATCH = 10


def generate(
    model: Any, tokenizer: Any, prompts: Sequence[str], expert: Expert, seed: int, length: int
) -> list[str]:
    ends, texts = end_tokens(model, tokenizer), list[str]()
    for start in range(0, len(prompts), BATCH):
        asked = prompts[start : start + BATCH]
        ids, mask = left_padded(tokenizer, asked)
        rows = []
        for number, prompt in enumerate(asked):
            job = Job(
                id="", request="", expert="sample", medium="text", prompt=prompt, head=len(prompt),
                length=length, seed=seed + start + number, sampling=expert.sampling,
            )  # fmt: skip
            rows.append(RowSampler(job, tokenizer, ends, expert.bans))
        read = partial(tokenizer.decode, skip_special_tokens=True)
        chosen = ChosenTokens(rows, mask.sum(1).tolist(), read)
        with torch.inference_mode():
            answers = model.generate(
                input_ids=ids.to(model.device),
                attention_mask=mask.to(model.device),
                do_sample=False,  # `chosen` draws
                logits_processor=[chosen],
                max_new_tokens=length,
                pad_token_id=0,
            )[:, ids.shape[1] :]
        texts += [read(row).strip() for row in answers]
    return texts


def left_padded(tokenizer: Any, prompts: Sequence[str]) -> tuple[Any, Any]:
    """Pad token ids and mask on the left, so that all prompts end together."""
    start = [] if (bos := opening_token(tokenizer)) is None else [bos]
    rows = [torch.tensor([*start, *plain_tokens(tokenizer, prompt)]) for prompt in prompts]
    pad = partial(pad_sequence, batch_first=True, padding_side="left")
    return pad(rows), pad([torch.ones_like(row) for row in rows])

"""Fit a prompt into a base's window."""

from typing import Any

from engine.backends.stop_rules import latest
from engine.errors import ModelError
from engine.plan.job import Job

MIN_PROMPT = 64  # tokens of a prompt that must find room


def prompt_ids(job: Job, tokenizer: Any, window: int) -> tuple[list[int], tuple[str, ...]]:
    """Give the prompt's token ids, and what the asker must know of what was left out.

    The beginning is trimmed from its front, since its end is what is gone on from; only a wish that
    does not fit by itself is trimmed at its end. `<bos>` stands first exactly once if the tokenizer is
    one that puts it there. Markup of special tokens in the text is plain text here: nobody can type a
    turn token. Raises ModelError for a window that cannot hold an answer of the length.
    """

    def encode(text: str) -> list[int]:
        ids: list[int] = tokenizer(
            text, add_special_tokens=False, split_special_tokens=True
        ).input_ids
        return ids

    bos = tokenizer.bos_token_id
    start = [bos] if bos is not None and tokenizer("x").input_ids[:1] == [bos] else []
    room = window - latest(job.length) - len(start)
    if room < MIN_PROMPT:
        raise ModelError(
            f"An answer of {job.length} tokens does not fit this model's window of {window}; "
            f"lower PASTICHE_MAX_LENGTH to {max(1, (window - MIN_PROMPT) // 2)}."
        )
    ids = encode(job.prompt)
    if len(ids) <= room:
        return start + ids, ()
    head, beginning = encode(job.prompt[: job.head]), encode(job.prompt[job.head :])
    least = min(len(beginning), MIN_PROMPT)
    if len(head) > room - least:
        lost = len(head) + len(beginning) - room
        ids = (head[: room - least] + beginning[-MIN_PROMPT:])[:room]
        note = (
            f"Your request was longer than the model can read: {lost} tokens of it were left out."
        )
    else:
        keep = room - len(head)
        lost = len(beginning) - keep
        ids = head + beginning[-keep:]
        note = (
            f"Your text was longer than the model can read: its first {lost} tokens were left out."
        )
    return start + ids, (note,)

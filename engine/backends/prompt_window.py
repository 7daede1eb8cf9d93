"""Fit a prompt into a base's window."""

from collections.abc import Callable
from functools import partial
from itertools import chain
from typing import Any

from engine.backends.stop_rules import latest
from engine.errors import ModelError
from engine.plan.job import Job

MIN_PROMPT = 64  # tokens of a prompt that must find room
ASKED = "You are a writer of stories. Write only the story, nothing about it.\n\n"
MARK = "\ue000"  # where the words stand in a turn
MEMORY_SHARE = 3  # a third of a full window's room is what notes and synopsis may take


def prompt_ids(job: Job, tokenizer: Any, window: int) -> tuple[list[int], tuple[str, ...]]:
    """Give the prompt's token ids, and what the asker must know of what was left out.

    The beginning is trimmed from its front, since its end is what is gone on from. Of the notes the
    newest stay, of the synopsis all or nothing. Only a wish that does not fit by itself is trimmed at
    its end. `<bos>` stands first exactly once if the tokenizer is one that puts it there. Markup of
    special tokens in the text is plain text here: nobody can type a turn token. A chat model alone is
    asked in a turn: without one it talks about the text. Raises ModelError for a window that cannot
    hold an answer of the length.
    """
    encode = partial(plain_tokens, tokenizer)
    start, closed = _around(tokenizer, turn=job.plain)
    room = window - latest(job.length) - len(start) - len(closed)
    if room < MIN_PROMPT:
        raise ModelError(
            f"An answer of {job.length} tokens does not fit this model's window of {window}; "
            f"lower PASTICHE_MAX_LENGTH to {max(1, (window - MIN_PROMPT) // 2)}."
        )
    ids = encode(job.prompt)
    if len(ids) <= room and not closed:
        return start + ids, ()
    asked = f"{ASKED if closed else ''}{job.prompt[: job.head]}"
    head, beginning = encode(asked), encode(job.beginning)
    least = min(len(beginning), MIN_PROMPT)
    memory, notes = _memory(job, encode, max(0, room - least - len(head)) // MEMORY_SHARE)
    if len(head) > room - least:
        lost = len(head) + len(beginning) - room
        head, memory, beginning = head[: room - least], [], beginning[-MIN_PROMPT:]
        notes += (
            f"Your request was longer than the model can read: {lost} tokens of it were left out.",
        )
    elif lost := max(0, len(head) + len(memory) + len(beginning) - room):
        beginning = beginning[lost:]
        notes += (
            f"Your text was longer than the model can read: its first {lost} tokens were left out.",
        )
    return start + head + memory + closed + beginning, notes


def plain_tokens(tokenizer: Any, text: str) -> list[int]:
    """Tokenize without any special tokens: markup of such in the text is plain text."""
    ids: list[int] = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    return ids


def _around(tokenizer: Any, *, turn: bool) -> tuple[list[int], list[int]]:
    """Encode what stands before a prompt and after it: `<bos>`, or the chat template's turn."""
    bos = tokenizer.bos_token_id
    start = [bos] if bos is not None and tokenizer("x").input_ids[:1] == [bos] else []
    if not (turn and getattr(tokenizer, "chat_template", None)):
        return start, []
    said = [{"role": "user", "content": MARK}]
    whole = tokenizer.apply_chat_template(said, tokenize=False, add_generation_prompt=True)
    opened, closed = (tokenizer(p, add_special_tokens=False).input_ids for p in whole.split(MARK))
    return opened if opened[:1] == start else start + opened, closed


def _memory(
    job: Job, encode: Callable[[str], list[int]], room: int
) -> tuple[list[int], tuple[str, ...]]:
    """Encode as much of synopsis and notes as there is room for, and tell of notes left out."""
    middle = job.head + job.recalled
    lines = [line for line in job.prompt[middle : middle + job.noted].split("\n") if line]
    kept: list[list[int]] = []
    for line in reversed(lines):
        ids = encode(f"{line}\n")
        if sum(map(len, kept)) + len(ids) < room:
            kept.insert(0, ids)
    noted = [*chain(*kept), *encode("\n")] if kept else []
    recalled = encode(job.prompt[job.head : middle])
    if len(recalled) + len(noted) > room:
        recalled = []
    lost = len(lines) - len(kept)
    return recalled + noted, (left_out(lost),) if lost else ()


def left_out(count: int) -> str:
    return (
        f"More notes than the model can read: {count} were left out. /story notes shows them all."
    )

"""Prompts as the two text encoders read them: 77 tokens, the rest cut and told; embeddings kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from engine.plan.picture import Drawing, unknown_words

if TYPE_CHECKING:
    from torch import Tensor

KEPT = 64  # prompts; SDXL's are 320 kB each


def tokens_of(text: str, tokenizers: Sequence[Any]) -> int:
    ids = tokenizers[0](text, add_special_tokens=False, verbose=False).input_ids
    return min(len(ids), room_of(tokenizers[0]))


def room_of(tokenizer: Any) -> int:
    return int(tokenizer.model_max_length) - 2


def cut_of(text: str, tokenizers: Sequence[Any]) -> str:
    """Give the end of the text that one of the encoders does not read, from a word's beginning."""
    starts = [len(text)]
    for tokenizer in tokenizers:
        read = tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        ).offset_mapping
        if len(read) > room_of(tokenizer):
            starts.append(read[room_of(tokenizer)][0])
    start = min(starts)
    while 0 < start < len(text) and not text[start - 1].isspace():
        start -= 1
    return text[start:].strip()


def asked_of(drawing: Drawing, prompt: str) -> str:
    """Give the asker's own words in a prompt that the card's text was put around."""
    before, _, after = drawing.prompt.partition("{request}")
    if not prompt.startswith(before.rstrip(" ,")):
        return prompt
    return prompt[len(before) :].removesuffix(after.rstrip(" ,"))


def notes_on(prompt: str, negative: str, drawing: Drawing, tokenizers: Sequence[Any]) -> list[str]:
    notes = []
    if unknown := unknown_words(drawing, asked_of(drawing, prompt)):
        notes.append(
            f"The small model does not know: {', '.join(unknown)}. /help with this command's name "
            "lists the words that it knows."
        )
    if cut := cut_of(prompt, tokenizers):
        notes.append(
            f"The model reads {room_of(tokenizers[0])} tokens; this end was left out: “{cut}”."
        )
    if cut := cut_of(negative, tokenizers):
        notes.append(f"Of what to leave out, this end was not read: “{cut}”.")
    return notes


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """Hold a prompt's embeddings: `states` (1, 77, width) and `pooled` (1, width)."""

    states: "Tensor"
    pooled: "Tensor"


@dataclass(slots=True)
class Encoder:
    """Encode prompts by the two text encoders of one base, each once while it is remembered."""

    pipeline: Any
    device: str
    encode: Callable[..., EncodedPrompt] = field(init=False)

    def __post_init__(self) -> None:
        self.encode = lru_cache(KEPT)(self._encode)

    def _encode(self, text: str, adapters: object = ()) -> EncodedPrompt:  # noqa: ARG002 - a key
        """Encode a prompt; `adapters` are those that change the text encoders now."""
        states, _, pooled, _ = self.pipeline.encode_prompt(
            text, device=self.device, do_classifier_free_guidance=False
        )
        return EncodedPrompt(states, pooled)

    def leave_out(self, text: str, adapters: object = ()) -> EncodedPrompt:
        """Encode what a picture is guided away from; nothing is zeros where the base was trained so."""
        if text or not self.pipeline.config.force_zeros_for_empty_prompt:
            return self.encode(text, adapters)
        like = self.encode("", adapters)
        return EncodedPrompt(like.states * 0, like.pooled * 0)

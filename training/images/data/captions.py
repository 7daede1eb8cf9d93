"""Captions as the text encoders see them: 77 tokens, what is beyond them cut, and that told."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from training.images.data.folder import Picture


@dataclass(frozen=True, slots=True)
class Words:
    """Hold the caption that a picture is trained with, and the end of it that no encoder reads."""

    text: str
    cut: str = ""


def words_of(picture: Picture, tokenizers: Sequence[Any]) -> Words:
    """Choose the first of its captions that fits whole; else the first, with what is cut off."""
    for caption in picture.captions:
        if not cut_of(caption, tokenizers):
            return Words(caption)
    return Words(picture.captions[0], cut_of(picture.captions[0], tokenizers))


def cut_of(caption: str, tokenizers: Sequence[Any]) -> str:
    """Give the end of a caption that is beyond the encoders' window; empty when all of it fits."""
    longest = ""
    for tokenizer in tokenizers:
        ids = tokenizer(caption, add_special_tokens=False, verbose=False).input_ids
        room = tokenizer.model_max_length - 2  # for the marks of beginning and end
        if len(ids) > room:
            lost = tokenizer.decode(ids[room:]).strip()
            longest = max(longest, lost, key=len)
    return longest


def told_of(words: Sequence[Words]) -> str:
    cut = [word for word in words if word.cut]
    if not cut:
        return ""
    return (
        f"{len(cut)} of {len(words)} captions are longer than the text encoders' 77 tokens; their ends "
        f"are not learnt from. The first loses: “{cut[0].cut}”. Run `python -m training.caption` for "
        "short captions, or shorten them."
    )

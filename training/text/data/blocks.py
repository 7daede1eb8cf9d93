"""Pack works into blocks of tokens.

A block never spans two works. It starts with exactly one `<bos>` where the base uses one, and
end-of-text stands only at the end of a work. Where the base has no `<bos>`, a block repeats the
last token of the one before, so that every token but the first of a work is predicted once.
Nothing is lost except: a work's last block when it has nothing to predict (a single token).

An answer to a prompt has a block of its own: the prompt, then the answer and what ends it, with a
loss on these alone. An answer too long for its block is cut, and then does not end.

`packing = "autotrain"` repeats what AutoTrain 0.8 does, faults included: rows joined as
`<bos>row<eos>` into one stream cut anywhere, the remainder dropped.
Rows are those of a data set; of other sources, their paragraphs.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.backends.prompt_window import plain_tokens
from training.errors import BadCorpus
from training.text.data.works import Work

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

RARE = 0.02  # of the prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    tokens: tuple[int, ...]
    work: int
    given: int = 1  # tokens at its start that are not predicted; a page has one, a prompt more

    @property
    def predicted(self) -> int:
        return len(self.tokens) - self.given


def pack(
    works: Iterable[Work], tokenizer: "PreTrainedTokenizerBase", size: int, template: str = "plain"
) -> Iterator[Block]:
    bos = opening_token(tokenizer)
    for index, work in enumerate(works):
        if work.prompt:
            asked, answer = asked_and_answered(work, tokenizer, template)
            if len(asked) > size // 2:
                raise BadCorpus(
                    f"The prompt of {work.id} has {len(asked)} tokens, more than half a block of "
                    f"{size}. Shorten it, or raise corpus.block."
                )
            yield Block(tokens=(*asked, *answer)[:size], work=index, given=len(asked))
            continue
        tokens = plain_tokens(tokenizer, work.text)
        if tokenizer.eos_token_id is not None:
            tokens.append(int(tokenizer.eos_token_id))
        for piece in cut(tokens, size, bos):
            yield Block(tokens=tuple(piece), work=index)


def cut(tokens: Sequence[int], size: int, bos: int | None) -> Iterator[list[int]]:
    """Cut a work into pieces of `size`; each begins with `bos`, or with the last token before it."""
    stream = tokens if bos is None else [bos, *tokens]
    for start in range(0, len(stream) - 1, size - 1):
        head = [] if bos is None else [bos]
        yield [*head, *stream[start + len(head) : start + size]]


def asked_and_answered(
    work: Work, tokenizer: "PreTrainedTokenizerBase", template: str
) -> tuple[list[int], list[int]]:
    """Tokenize a prompt, as the bot puts it or by the base's chat template, and its answer."""
    if template == "plain":
        bos, eos = opening_token(tokenizer), tokenizer.eos_token_id
        start = [bos] if bos is not None else []
        end = [int(eos)] if eos is not None else []
        asked, answer = (plain_tokens(tokenizer, text) for text in (work.prompt, work.text))
        return start + asked, answer + end
    if not tokenizer.chat_template:
        raise BadCorpus(
            'This base has no chat template. Set [corpus] template = "plain", or use a base that '
            "was taught to chat."
        )
    if marks := [m for m in tokenizer.all_special_tokens if m in work.prompt + work.text]:
        raise BadCorpus(f"{work.id} holds {marks[0]}, which is markup of this base. Take it out.")
    turns = [{"role": "user", "content": work.prompt}, {"role": "assistant", "content": work.text}]
    before = str(
        tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    )
    whole = str(tokenizer.apply_chat_template(turns, tokenize=False))
    if not whole.startswith(before):
        raise BadCorpus('The chat template of this base rewrites prompts: use template = "plain".')
    head, tail = (
        tokenizer(text, add_special_tokens=False).input_ids
        for text in (before, whole[len(before) :])
    )
    return list(map(int, head)), list(map(int, tail))


def opening_token(tokenizer: "PreTrainedTokenizerBase") -> int | None:
    """Give the `<bos>` that this base's own tokenizer puts before a text, or None."""
    ids = tokenizer("a").input_ids
    bos = tokenizer.bos_token_id
    return int(bos) if bos is not None and ids and ids[0] == bos else None


def pack_like_autotrain(
    works: Iterable[Work], tokenizer: "PreTrainedTokenizerBase", size: int, rows: int = 1000
) -> Iterator[Block]:
    """Cut one stream of rows (paragraphs) into full blocks; each thousand rows lose their rest."""
    paragraphs = [paragraph for work in works for paragraph in work.paragraphs]
    for start in range(0, len(paragraphs), rows):
        stream: list[int] = []
        for paragraph in paragraphs[start : start + rows]:
            stream.extend(int(token) for token in tokenizer(paragraph).input_ids)
            if tokenizer.eos_token_id is not None:
                stream.append(int(tokenizer.eos_token_id))
        for cut_at in range(0, len(stream) - size + 1, size):
            yield Block(tokens=tuple(stream[cut_at : cut_at + size]), work=0)


def rare_in_prompts(blocks: Sequence[Block]) -> frozenset[int]:
    """Find the tokens of prompts that few of them hold."""
    prompts = [set(block.tokens[: block.given]) for block in blocks if block.given > 1]
    counts = Counter(token for prompt in prompts for token in prompt)
    return frozenset(token for token, count in counts.items() if count <= RARE * len(prompts))


def write_blocks(path: Path, blocks: Sequence[Block]) -> None:
    """Write one safetensors file: tokens end to end, block lengths, works."""
    import torch
    from safetensors.torch import save_file

    tensors = {
        "tokens": torch.tensor([t for block in blocks for t in block.tokens], dtype=torch.int32),
        "lengths": torch.tensor([len(block.tokens) for block in blocks], dtype=torch.int32),
        "works": torch.tensor([block.work for block in blocks], dtype=torch.int32),
        "given": torch.tensor([block.given for block in blocks], dtype=torch.int32),
    }
    save_file(tensors, path)


def read_blocks(path: Path) -> list[Block]:
    from safetensors.torch import load_file

    tensors: dict[str, Any] = load_file(path)
    pieces = tensors["tokens"].split(tensors["lengths"].tolist())
    works = tensors["works"].tolist()
    given = tensors["given"].tolist() if "given" in tensors else [1] * len(works)
    return [
        Block(tokens=tuple(piece.tolist()), work=work, given=count)
        for piece, work, count in zip(pieces, works, given, strict=True)
    ]


def read_split(run: Path, name: str) -> list[Block]:
    """Read the blocks of one split; raises BadCorpus when the corpus stage has not run."""
    path = run / "corpus" / f"{name}.safetensors"
    if not path.exists():
        raise BadCorpus(f"{path} is missing. Run `python -m training.corpus RECIPE` first.")
    blocks = [block for block in read_blocks(path) if block.predicted > 0]
    if not blocks:
        raise BadCorpus(f"The {name} split has no block to predict. Give it more text.")
    return blocks

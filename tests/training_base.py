"""Parts of training tests: a tiny Gemma-2 made on the spot, a stand-in tokenizer, a corpus."""

import json
import random
from pathlib import Path

AUTHORS = {
    "gloom": [
        "shadow",
        "crypt",
        "ancient",
        "whisper",
        "abyss",
        "nameless",
        "stone",
        "dread",
        "moon",
        "tomb",
    ],
    "parlour": [
        "inspector",
        "teacup",
        "vicar",
        "alibi",
        "parlour",
        "letter",
        "butler",
        "clue",
        "train",
        "lady",
    ],
}
PLAIN = [
    "the",
    "a",
    "of",
    "in",
    "and",
    "was",
    "he",
    "she",
    "it",
    "upon",
    "with",
    "before",
    "there",
    "that",
    "said",
]

RECIPE = """
[run]
name = "{author}-tiny"
seed = 7

[expert]
name = "{author}"
profile = "tiny"
title = "{author}"

[rights]
basis = "Made up by a test."
licence = "CC0"
train_allowed = true

[source]
kind = "folder"
edition = "a test's own words"

[base]
id = "tiny-gemma"

[corpus]
block = 32
test = ["{author}-6", "{author}-7"]
validation = ["{author}-5"]

[lora]
rank = 4
alpha = 8

[training]
precision = "fp32"
learning_rate = 5e-3
batch = 2
accumulate = 2
blocks = 24
validate_every = 3
validation_blocks = 4
"""


def prose(author: str, number: int, sentences: int = 24) -> str:
    """A made-up work: plain words with an author's own among them."""
    draw = random.Random(f"{author}-{number}")
    words = PLAIN + AUTHORS[author] * 2
    lines = [" ".join(draw.choices(words, k=draw.randint(6, 12))) for _ in range(sentences)]
    return "\n\n".join(line.capitalize() + "." for line in lines)


def make_corpus(folder: Path, author: str, works: int = 8) -> Path:
    """A folder of `.txt` works."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(works):
        (folder / f"{author}-{number}.txt").write_text(prose(author, number), encoding="utf-8")
    return folder


def make_recipe(path: Path, author: str = "gloom", **changes: str) -> Path:
    """A recipe file; `changes` replace whole lines by their key."""
    lines = RECIPE.format(author=author).split("\n")
    for key, value in changes.items():
        lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in lines]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def make_tokenizer(folder: Path) -> None:
    """Words and letters, with Gemma's <pad> <eos> <bos> as 0, 1, 2, and <bos> put first."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = PLAIN + [word for author in AUTHORS.values() for word in author]
    words += [word.capitalize() for word in words]
    letters = [chr(code) for code in range(33, 127)]
    entries = dict.fromkeys(["<pad>", "<eos>", "<bos>", "<unk>", *words, *letters])
    vocab = {entry: number for number, entry in enumerate(entries)}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<bos>",
        eos_token="<eos>",
        pad_token="<pad>",
        unk_token="<unk>",
    ).save_pretrained(folder)


def make_base(folder: Path, hidden_size: int = 64) -> Path:
    """A Gemma-2 of two layers with random weights, its softcaps as in the real one."""
    import torch
    from transformers import AutoTokenizer, Gemma2Config, Gemma2ForCausalLM

    make_tokenizer(folder)
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(AutoTokenizer.from_pretrained(folder)),
        hidden_size=hidden_size,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        query_pre_attn_scalar=16,
        sliding_window=16,
        max_position_embeddings=512,
    )
    Gemma2ForCausalLM(config).save_pretrained(folder)
    return folder


def losses(run: Path) -> list[float]:
    """The training losses in a run's log."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [row["loss"] for row in map(json.loads, lines) if "loss" in row]

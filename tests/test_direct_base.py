"""A base read from its own files is what transformers reads, and is served without it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tiny_layouts import make_layout
from tiny_models import make_tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from engine.backends.mixing.attention import Attention, Piece
from engine.backends.mixing.decoder import Batch, Decoder
from engine.backends.mixing.direct_base import DirectBase, read_directly
from engine.backends.mixing.kernels import Precision
from engine.backends.mixing.kv_cache import KVCache
from engine.backends.mixing.layouts import make_decoder
from engine.backends.model_loading import end_tokens, load_base
from engine.errors import ModelError
from engine.weights.bases import MANIFEST
from engine.weights.weight_files import SUMS, write_sums

ON_CPU = not (torch.cuda.is_available() or torch.backends.mps.is_available())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepared(make_layout(tmp_path_factory.mktemp("base") / "llama", "llama"))


def prepared(folder: Path) -> Path:
    """Note its files as `pastiche prepare` does."""
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / SUMS).unlink(missing_ok=True)
    sizes = {file.name: file.stat().st_size for file in folder.iterdir()}
    (folder / MANIFEST).write_text(json.dumps({"bytes": sizes}))
    write_sums(folder)
    return folder


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def change(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def logits(decoder: Decoder) -> torch.Tensor:
    sizes = (len(decoder.layers), decoder.kv_heads, decoder.head_size)
    cache = KVCache(*sizes, decoder.dtype, decoder.device, 1 << 24)
    cache.reserve(1, 64)
    attend = Attention(cache, [], [Piece(0, 0, 50)])
    return decoder(Batch(ids=[4 + n * 37 % 250 for n in range(50)], attend=attend, wanted=[7, 49]))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_number_is_the_same(copy: Path, precision: Precision, tied: bool) -> None:
    if not tied:
        change(copy / "config.json", tie_word_embeddings=False)
        state = load_file(copy / "model.safetensors")
        state["lm_head.weight"] = state["model.embed_tokens.weight"].flip(0).contiguous()
        save_file(state, copy / "model.safetensors", {"format": "pt"})
    read = read_directly(prepared(copy))
    assert read is not None
    theirs = AutoModelForCausalLM.from_pretrained(copy).requires_grad_(False)
    own = logits(make_decoder(read[0], precision))
    assert torch.equal(own, logits(make_decoder(theirs, precision)))


@given(
    text=st.text() | st.lists(st.sampled_from(["<bos>", "<eos>", " ", "It rained.", "é", "\n"])),
    start=st.booleans(),
    plain=st.booleans(),
    skip=st.booleans(),
)
def test_texts_become_the_same_tokens_and_come_back_the_same(
    folder: Path, text: str | list[str], start: bool, plain: bool, skip: bool
) -> None:
    own, theirs = _tokenizers(folder)
    said = "".join(text)
    ids = own(said, add_special_tokens=start, split_special_tokens=plain).input_ids
    assert ids == theirs(said, add_special_tokens=start, split_special_tokens=plain).input_ids
    text = own.decode(ids, skip_special_tokens=skip)
    assert text == theirs.decode(ids, skip_special_tokens=skip)


def _tokenizers(folder: Path, _kept: dict[Path, Any] = {}) -> Any:  # noqa: B006 - kept on purpose
    if folder not in _kept:
        read = read_directly(folder)
        assert read is not None
        _kept[folder] = read[1], AutoTokenizer.from_pretrained(folder)
    return _kept[folder]


def test_a_tokenizer_that_begins_by_itself_is_kept(copy: Path) -> None:
    make_tokenizer(copy, bos=True)
    own, theirs = _tokenizers(prepared(copy))
    assert own("x").input_ids == theirs("x").input_ids
    assert own("x").input_ids != own("x", add_special_tokens=False).input_ids
    assert (own.bos_token_id, own.eos_token_id) == (theirs.bos_token_id, theirs.eos_token_id)


@pytest.mark.parametrize("turn", [True, False])
def test_a_turn_of_the_chat_is_written_the_same(copy: Path, turn: bool) -> None:
    (copy / "chat_template.jinja").write_text(
        "{% for message in messages %}\n    {% if loop.first %}\nFirst {% endif %}\n"
        "<bos>{{ message['role'] }}\n{{ message.content }}<eos>{% endfor %}\n"
        "{% if add_generation_prompt %}{{ 'model\n' }}{% endif %}\n"
    )
    own, theirs = _tokenizers(prepared(copy))
    said = [{"role": "user", "content": "hello"}]
    rendered = own.apply_chat_template(said, tokenize=False, add_generation_prompt=turn)
    assert rendered == theirs.apply_chat_template(said, tokenize=False, add_generation_prompt=turn)


@pytest.mark.parametrize("ends", [None, 3, [1, 3]])
def test_an_answer_ends_with_the_same_tokens(copy: Path, ends: object) -> None:
    change(copy / "generation_config.json", eos_token_id=ends)
    read = read_directly(prepared(copy))
    assert read is not None
    theirs = AutoModelForCausalLM.from_pretrained(copy), AutoTokenizer.from_pretrained(copy)
    assert end_tokens(*read) == end_tokens(*theirs)


def rope(path: Path, **changes: object) -> None:
    said = json.loads((path / "config.json").read_text())
    change(path / "config.json", rope_parameters=said["rope_parameters"] | changes)
    prepared(path)


OTHERS: dict[str, Callable[[Path], object]] = {
    "not prepared": lambda path: (path / MANIFEST).unlink(),
    "no sums": lambda path: (path / SUMS).unlink(),
    "another size": lambda path: (path / "model.safetensors").write_bytes(b"cut"),
    "another layout": lambda path: prepared(make_layout(path, "gemma2")),
    "another rope": lambda path: rope(path, rope_type="linear", factor=2.0),
    "edited": lambda path: change(path / "config.json", rms_norm_eps=1e-7),
    "tokenizer edited": lambda path: change(path / "tokenizer_config.json", bos_token="<eos>"),
    "a template came": lambda path: (path / "chat_template.jinja").write_text("Hello"),
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_was_not_prepared_so_is_left_to_transformers(copy: Path, what: str) -> None:
    assert read_directly(copy) is not None
    OTHERS[what](copy)
    assert read_directly(copy) is None


def test_a_base_that_lacks_a_tensor_is_refused(copy: Path) -> None:
    state = load_file(copy / "model.safetensors")
    del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, copy / "model.safetensors")
    read = read_directly(prepared(copy))
    assert read is not None
    with pytest.raises(ModelError, match=r"lacks .*up_proj.*prepare"):
        make_decoder(read[0], "fp32")


def test_a_tied_head_is_one_tensor_and_counts_once(folder: Path) -> None:
    read = read_directly(folder)
    assert read is not None
    theirs = AutoModelForCausalLM.from_pretrained(folder)
    count = sum(weight.numel() for weight in read[0].parameters())
    assert count == sum(weight.numel() for weight in theirs.parameters())


@pytest.mark.skipif(not ON_CPU, reason="an accelerator is here: transformers reads the base")
def test_the_digest_and_the_window_are_the_same(folder: Path) -> None:
    own, theirs = (load_base(str(folder), folder, direct=direct) for direct in (True, False))
    assert isinstance(own.model, DirectBase)
    assert (own.digest, own.window) == (theirs.digest, theirs.window)


def test_a_worker_that_mixes_it_does_not_import_transformers(folder: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from engine.backends.counters import Counters
from engine.backends.model_loading import load_base
from engine.backends.resident_base import make_resident
from engine.settings import read_settings
make_resident(load_base({str(folder)!r}, Path(), direct=True), read_settings(), Counters(1))
sys.exit("transformers" in sys.modules)
"""
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    program = [sys.executable, "-c", program]
    done = subprocess.run(program, env=hidden, check=False, timeout=120)
    assert done.returncode == 0

"""A base read from its own files is what transformers reads, and is served without it."""

import json
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
from engine.backends.mixing.direct_base import read_directly
from engine.backends.mixing.kernels import Precision
from engine.backends.mixing.kv_cache import KVCache
from engine.backends.mixing.layouts import make_decoder
from engine.backends.model_loading import Loaded, load_base
from engine.errors import ModelError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_layout(tmp_path_factory.mktemp("base") / "llama", "llama")


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
    read = read_directly(copy)
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


def test_a_tokenizer_that_begins_by_itself_and_a_chat_template_are_kept(copy: Path) -> None:
    make_tokenizer(copy, bos=True)
    (copy / "chat_template.jinja").write_text("{{ messages[0].content }}!")
    own, theirs = _tokenizers(copy)
    assert own("x").input_ids == theirs("x").input_ids != own("x", add_special_tokens=False)
    assert (own.bos_token_id, own.eos_token_id) == (theirs.bos_token_id, theirs.eos_token_id)
    said = [{"role": "user", "content": "hello"}]
    assert own.apply_chat_template(said, tokenize=False) == "hello!"


@pytest.mark.parametrize("ends", [None, 3, [1, 3]])
def test_an_answer_ends_with_the_same_tokens(copy: Path, ends: object) -> None:
    if ends is None:
        (copy / "generation_config.json").unlink()
    else:
        change(copy / "generation_config.json", eos_token_id=ends)
    read = read_directly(copy)
    assert read is not None
    theirs = AutoModelForCausalLM.from_pretrained(copy).generation_config.eos_token_id
    assert read[0].generation_config.eos_token_id == theirs


def rope(path: Path, **changes: object) -> None:
    said = json.loads((path / "config.json").read_text())
    change(path / "config.json", rope_parameters=said["rope_parameters"] | changes)


OTHERS: dict[str, Callable[[Path], object]] = {
    "layout": lambda path: change(path / "config.json", model_type="mistral"),
    "rope": lambda path: rope(path, rope_type="linear", factor=2.0),
    "part of a head": lambda path: rope(path, partial_rotary_factor=0.5),
    "quantised": lambda path: change(path / "config.json", quantization_config={"bits": 4}),
    "head": lambda path: change(path / "config.json", head_dim=None),
    "tokenizer": lambda path: change(path / "tokenizer_config.json", tokenizer_class="Llama"),
    "added token": lambda path: change(path / "tokenizer_config.json", eos_token="<end>"),
    "clean up": lambda path: change(
        path / "tokenizer_config.json", clean_up_tokenization_spaces=True
    ),
    "unknown setting": lambda path: change(path / "tokenizer_config.json", add_bos_token=True),
    "large": lambda path: change(path / "config.json", vocab_size=128256),
    "file beside": lambda path: (path / "added_tokens.json").write_text("{}"),
    "file": lambda path: (path / "tokenizer.json").unlink(),
}


def test_a_bias_that_its_configuration_does_not_ask_for_is_not_added(copy: Path) -> None:
    change(copy / "config.json", attention_bias=False)
    read = read_directly(copy)
    assert read is not None
    theirs = AutoModelForCausalLM.from_pretrained(copy).requires_grad_(False)
    assert torch.equal(logits(make_decoder(read[0], "fp32")), logits(make_decoder(theirs, "fp32")))


@pytest.mark.parametrize("what", OTHERS)
def test_what_transformers_would_read_otherwise_is_left_to_it(copy: Path, what: str) -> None:
    OTHERS[what](copy)
    assert read_directly(copy) is None


@pytest.mark.parametrize("size", [0, 8])
def test_a_base_that_lacks_a_tensor_or_has_it_in_another_size_is_refused(
    copy: Path, size: int
) -> None:
    state = load_file(copy / "model.safetensors")
    state["model.layers.1.mlp.up_proj.weight"] = torch.zeros(size, size)
    if not size:
        del state["model.layers.1.mlp.up_proj.weight"]
    save_file(state, copy / "model.safetensors")
    with pytest.raises(ModelError, match=r"cannot be loaded.*up_proj"):
        load_base(str(copy), copy, direct=True)


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer_config.json", "tokenizer.json", "generation_config.json"]
)
@pytest.mark.parametrize("text", ["[]", "{", "", "{}"])
def test_files_of_odd_shape_are_a_models_fault_or_transformers_matter(
    copy: Path, name: str, text: str
) -> None:
    (copy / name).write_text(text)
    try:
        load_base(str(copy), copy, direct=True)
    except ModelError as error:
        assert "cannot be loaded" in str(error)


def test_the_digest_and_the_window_are_the_same(folder: Path) -> None:
    own, theirs = (load_base(str(folder), folder, direct=direct) for direct in (True, False))
    assert isinstance(own, Loaded)
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
    done = subprocess.run([sys.executable, "-c", program], check=False, timeout=120)
    assert done.returncode == 0

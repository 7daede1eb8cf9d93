"""An adapter's folder against a base's shape: it fits, or a sentence names what does not."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tiny_layouts import make_layout, make_lora

from engine.errors import ModelError
from engine.weights.adapter_config import read_config
from engine.weights.adapter_fit import check_fit


@pytest.fixture(scope="module")
def moss(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base and an adapter, moss, of two linears in each of its three layers."""
    root = tmp_path_factory.mktemp("fit")
    base = make_layout(root / "base", "llama")
    make_lora(base, root / "moss", 1, target_modules=["q_proj", "down_proj"])
    return root


@pytest.fixture
def changed(moss: Path, tmp_path: Path) -> Callable[..., Path]:
    """A copy of moss with other keys in its configuration, or with its tensors changed."""

    def made(
        tensors: Callable[[dict[str, Any]], dict[str, Any]] | None = None, **keys: Any
    ) -> Path:
        folder = tmp_path / "changed"
        shutil.copytree(moss / "moss", folder)
        config = folder / "adapter_config.json"
        config.write_text(json.dumps({**json.loads(config.read_text()), **keys}))
        file = folder / "adapter_model.safetensors"
        if tensors is not None:
            save_file(tensors(load_file(file)), file)
        return folder

    return made


def test_an_adapter_of_the_base_fits_by_the_bases_configuration_alone(moss: Path) -> None:
    shape = moss / "shape"
    shape.mkdir(exist_ok=True)
    shutil.copy2(moss / "base" / "config.json", shape)
    assert check_fit("moss", moss / "moss", shape).r == 4


def renamed(weights: dict[str, Any]) -> dict[str, Any]:
    return {k.replace("model.layers", "model.language_model.layers"): v for k, v in weights.items()}


def halved(weights: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in weights.items() if "layers.0" in k}


def widened(weights: dict[str, Any]) -> dict[str, Any]:
    return {k: v.repeat(1, 2).clone() if "q_proj.lora_A" in k else v for k, v in weights.items()}


def infinite(weights: dict[str, Any]) -> dict[str, Any]:
    return {k: v / 0 if "layers.1.mlp.down_proj.lora_B" in k else v for k, v in weights.items()}


@pytest.mark.parametrize(
    "tensors, told",
    [
        (
            renamed,
            r"of its 12 tensors, model\.language_model\.layers\.0\..* and 10 more have no pl",
        ),
        (halved, r"lacks model\.layers\.1\.mlp\.down_proj\.lora_A\.weight.* of the 12 tensors"),
        (widened, r"layers\.0\.self_attn\.q_proj\.lora_A\.weight is 4 x 64, the base takes 4 x 32"),
        (infinite, r"not finite \(.*layers\.1\.mlp\.down_proj\.lora_B"),
    ],
)
def test_tensors_that_do_not_fit_are_named(moss: Path, changed, tensors, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        check_fit("moss", changed(tensors), moss / "base")


@pytest.mark.parametrize(
    "keys, told",
    [
        (
            {"init_lora_weights": "pissa_niter_4"},
            "pissa_niter_4.*path_initial_model_for_weight_conv",
        ),
        ({"init_lora_weights": "olora"}, "init_lora_weights = olora"),
        ({"tomorrow": {"sum": "another"}}, "tomorrow = .* is not understood here. Save it without"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"bias": "all"}, "bias = all"),
        ({"lora_alpha": None}, "lora_alpha = None .*; input should be a valid number"),
        ({"rank_pattern": {"q_proj": "four"}}, "rank_pattern.* = four"),
        ({"target_modules": "q_proj("}, "target_modules = q_proj.*not a regular expression"),
        ({"r": 8}, "is 4 x 64, the base takes 8 x 64"),
        ({"target_modules": ["q_proj"]}, "down_proj.lora_A.weight, .* have no place"),
        ({"target_modules": ["nowhere"]}, "nowhere"),
        ({"peft_type": "IA3"}, r"\(its configuration says IA3\); only LoRA"),
    ],
)
def test_a_configuration_that_is_not_understood_is_named(
    moss: Path, changed, keys: dict[str, Any], told: str
) -> None:
    with pytest.raises(ModelError, match=told):
        check_fit("moss", changed(**keys), moss / "base")


def test_keys_of_training_and_empty_ones_change_nothing(moss: Path, changed) -> None:
    odd = changed(
        tomorrow=None, velora_config={}, lora_dropout=0.3, task_type="SEQ_CLS", lora_alpha="8"
    )
    assert read_config("moss", odd) == read_config("moss", moss / "moss")


PATTERNS = (
    {"target_modules": ["q_proj", "mlp.down_proj"]},
    {"target_modules": r".*layers\.[02]\..*_proj"},
    {"target_modules": ["v_proj", "o_proj"], "layers_to_transform": [0, 2]},
    {"target_modules": ["v_proj"], "layers_to_transform": 0},
    {"target_modules": ["q_proj", "k_proj"], "exclude_modules": ["layers.1.self_attn.k_proj"]},
    {"target_modules": ["q_proj"], "rank_pattern": {"layers.1.self_attn.q_proj": 2}},
    {"target_modules": ["q_proj", "v_proj"], "alpha_pattern": {"v_proj": 3}, "use_rslora": True},
)


@pytest.mark.parametrize("keys", PATTERNS)
def test_linears_ranks_and_scales_are_those_of_peft(moss: Path, changed, keys) -> None:
    from peft import PeftModelForCausalLM
    from transformers import AutoModelForCausalLM

    from engine.weights.adapter_fit import lora_config

    config = read_config("moss", changed(**keys))
    base = AutoModelForCausalLM.from_pretrained(moss / "base")
    names = [name for name, _ in base.named_modules() if name.endswith("_proj")]
    model = PeftModelForCausalLM(base, lora_config(config)).base_model.model
    theirs = {
        n: model.get_submodule(n) for n in names if hasattr(model.get_submodule(n), "scaling")
    }
    assert {name for name in names if config.targets(name)} == set(theirs)
    for name, layer in theirs.items():
        assert (config.rank(name), config.scale(name)) == (
            layer.r["default"],
            layer.scaling["default"],
        )

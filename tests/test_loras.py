"""LoRAs of pictures: every tensor finds its place at the strength that its file says, or is refused."""

import copy
import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_loras import save_diffusers, save_peft
from tiny_sdxl import make_base, make_pipeline

from engine.backends.diffusion.loras import activate, load_lora
from engine.errors import ModelError
from engine.weights.picture_layers import layers_in, layers_of, spellings
from engine.weights.picture_lora import read_lora

pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
PARTS = ("unet", "text_encoder", "text_encoder_2")
KOHYA = {"unet": "unet", "text_encoder": "te1", "text_encoder_2": "te2"}
ATTENTION = r"attn\d\.to_[qkv]$|attn\d\.to_out\.0$|self_attn\.\w+_proj$|ff\.net\.2$|fc1$"
CONVOLUTIONS = (
    r"conv1$|conv2$|conv_shortcut$|downsamplers\.0\.conv$|upsamplers\.0\.conv$|time_emb_proj$"
)
Matrices = dict[tuple[str, str], tuple[torch.Tensor, torch.Tensor, float]]  # down, up, alpha / rank


@pytest.fixture(scope="module")
def whole() -> tuple[Any, Any, list[torch.Tensor]]:
    """A pipeline, its layers, and what it makes before it ever had a LoRA."""
    torch.set_num_threads(1)
    made = make_pipeline()
    return made, layers_of(made), bare(made)


@pytest.fixture
def pipeline(whole: Any) -> Iterator[Any]:
    """Without what the test before it loaded."""
    yield whole[0]
    whole[0].unload_lora_weights()


@pytest.fixture
def layers(whole: Any) -> Any:
    return whole[1]


def drawn_up(layers: Any, kinds: str, *, alphas: bool = True, ranks: bool = True) -> Matrices:
    """Random halves for every layer of those kinds, each of its own rank and alpha."""
    made: Matrices = {}
    generator = torch.Generator().manual_seed(3)
    for part in PARTS:
        for layer, shape in layers[part].items():
            if not re.search(kinds, layer):
                continue
            rank = 2 + len(made) % 3 if ranks else 4
            scale = (1, 2, 4, 8)[len(made) % 4] / rank if alphas else 1.0
            down = torch.randn(rank, *shape[1:], generator=generator)
            up = torch.randn(shape[0], rank, *(1,) * (len(shape) - 2), generator=generator)
            made[part, layer] = (down, up, scale)
    return made


def kohya(made: Matrices, spelling: str = "as it is") -> dict[str, torch.Tensor]:
    state = {}
    for (part, layer), (down, up, scale) in made.items():
        name = layer
        if part != "unet" and spelling != "as it is":
            name = layer.removeprefix("text_model.")
            name = f"text_model.{name}" if spelling == "below text_model" else name
        key = f"lora_{KOHYA[part]}_{name.replace('.', '_')}"
        state |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        if scale != 1.0:
            state[f"{key}.alpha"] = torch.tensor(scale * down.shape[0])
    return state


def diffusers(made: Matrices, ends: tuple[str, str], prefix: str = "") -> dict[str, torch.Tensor]:
    return {
        f"{prefix or part + '.'}{layer}{end}": tensor
        for (part, layer), halves in made.items()
        for end, tensor in zip(ends, halves[:2], strict=True)
    }


def worn(pipeline: Any, name: str) -> Iterator[tuple[tuple[str, str], torch.Tensor]]:
    """What every layer really adds to its weight."""
    for part in PARTS:
        for layer, module in getattr(pipeline, part).named_modules():
            if name in getattr(module, "lora_A", ()):
                yield (part, layer), module.get_delta_weight(name)


def added(made: Matrices) -> dict[tuple[str, str], torch.Tensor]:
    """up @ down * alpha / rank."""
    return {
        where: torch.einsum("or...,ri...->oi...", up.expand(*up.shape[:2], *down.shape[2:]), down)
        * scale
        if down.ndim == 4
        else up @ down * scale
        for where, (down, up, scale) in made.items()
    }


def oldest(made: Matrices) -> dict[str, torch.Tensor]:
    """As diffusers named them before PEFT: in attention's processors, and beside text layers."""
    state = {}
    for (part, layer), halves in made.items():
        for end, tensor in zip(("down", "up"), halves[:2], strict=True):
            head, _, name = layer.removesuffix(".0").rpartition(".")
            key = f"{layer}.lora_linear_layer.{end}.weight"
            if part == "unet":
                key = f"{head}.processor.{name}_lora.{end}.weight"
            state[f"{part}.{key}"] = tensor
    return state


FORMATS = {
    "kohya": (ATTENTION, {}, kohya),
    "kohya, convolutions": (ATTENTION + "|" + CONVOLUTIONS, {}, kohya),
    "kohya below text_model": (ATTENTION, {}, lambda m: kohya(m, "below text_model")),
    "kohya without text_model": (ATTENTION, {}, lambda m: kohya(m, "without")),
    "kohya without alphas": (ATTENTION, {"alphas": False}, kohya),
    "diffusers": (
        ATTENTION + "|" + CONVOLUTIONS, {"alphas": False},
        lambda m: diffusers(m, (".lora_A.weight", ".lora_B.weight")),
    ),
    "diffusers, oldest": (r"attn\d\.to_|self_attn\.\w+_proj$", {"alphas": False}, oldest),
    "diffusers, older": (
        ATTENTION, {"alphas": False}, lambda m: diffusers(m, (".lora.down.weight", ".lora.up.weight")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FORMATS)
def test_every_layer_of_a_lora_has_the_strength_that_its_file_says(
    pipeline, layers, tmp_path, kind
) -> None:
    kinds, options, write = FORMATS[kind]
    made = drawn_up(layers, kinds, **options)
    save_file({k: v.contiguous() for k, v in write(made).items()}, tmp_path / "lora.safetensors")
    name = kind.replace(".", "")
    load_lora(pipeline, layers, name, tmp_path / "lora.safetensors")
    activate(pipeline, {name: 1.0})
    found, expected = dict(worn(pipeline, name)), added(made)
    assert found.keys() == expected.keys()
    for where, delta in expected.items():
        torch.testing.assert_close(found[where], delta, msg=str(where))


@cache
def _unet() -> Any:
    return make_pipeline().unet


def by_peft(**options: Any) -> Any:
    """A UNet with a LoRA of PEFT's own making, its alphas and ranks by layer."""
    from peft import LoraConfig

    unet = copy.deepcopy(_unet())
    targets = ["to_q", "to_out.0", "conv1"]
    unet.add_adapter(LoraConfig(**{"r": 4, "lora_alpha": 6, "target_modules": targets, **options}))
    generator = torch.Generator().manual_seed(5)
    for name, weight in unet.named_parameters():
        if "lora_" in name:
            weight.data.copy_(torch.randn(weight.shape, generator=generator))
    return unet


@pytest.mark.parametrize("save", [save_peft, save_diffusers])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_rslora": True},
        {
            "rank_pattern": {"to_q": 2, r"down_blocks\.1.*to_out\.0": 3},
            "alpha_pattern": {"to_q": 9},
        },
        {"alpha_pattern": {"conv1": 1, "attn1.to_q": 16}, "use_rslora": True},
        {"use_dora": True},
    ],
)
def test_what_peft_wrote_has_pefts_own_strength(pipeline, layers, tmp_path, save, options) -> None:
    unet = by_peft(**options)
    name = "".join(c for c in str(options) + save.__name__ if c.isalnum())
    load_lora(pipeline, layers, name, save(unet, tmp_path / "lora"))
    found = {layer: delta for (_, layer), delta in worn(pipeline, name)}
    for layer, module in unet.named_modules():
        if hasattr(module, "lora_A"):
            torch.testing.assert_close(found.pop(layer), module.get_delta_weight("default"))
            for size in getattr(module, "lora_magnitude_vector", {}).values():
                own = pipeline.unet.get_submodule(layer).lora_magnitude_vector[name]
                torch.testing.assert_close(own.weight.flatten(), size.weight.flatten())
    assert not found


def test_stabilitys_names_of_the_blocks_are_sdxls_own() -> None:
    names = {
        "down_blocks.0.resnets.1.conv1": "input_blocks_2_0_in_layers_2",
        "down_blocks.0.downsamplers.0.conv": "input_blocks_3_0_op",
        "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q":
            "input_blocks_4_1_transformer_blocks_0_attn1_to_q",
        "down_blocks.2.resnets.0.conv_shortcut": "input_blocks_7_0_skip_connection",
        "mid_block.attentions.0.proj_in": "middle_block_1_proj_in",
        "mid_block.resnets.1.time_emb_proj": "middle_block_2_emb_layers_1",
        "up_blocks.0.attentions.2.proj_out": "output_blocks_2_1_proj_out",
        "up_blocks.0.upsamplers.0.conv": "output_blocks_2_2_conv",
        "up_blocks.2.resnets.2.conv2": "output_blocks_8_0_out_layers_3",
        "time_embedding.linear_2": "time_embed_2",
        "conv_out": "out_2",
    }  # fmt: skip
    known = spellings({"unet": dict.fromkeys(names, (1, 1))})
    for layer, name in names.items():
        assert known[f"lora_unet_{name}"] == ("unet", layer)


def test_diffusers_reads_stabilitys_names_in_the_same_way(pipeline, layers) -> None:
    own = {"unet": {k: v for k, v in layers["unet"].items() if re.search(ATTENTION, k)}}
    foreign = {
        k: w for k, w in spellings(own).items() if re.match("lora_unet_(in|out|mid)[a-z]+_b", k)
    }
    assert len(foreign) == len(own["unet"])
    state = {f"{key}.lora_{side}.weight": torch.ones(1, 1) * n
             for n, key in enumerate(foreign) for side in ("down", "up")}  # fmt: skip
    read, _ = pipeline.lora_state_dict(dict(state), unet_config=pipeline.unet.config)
    assert len(read) == len(state)
    for key, tensor in read.items():
        layer = list(foreign.values())[int(tensor)][1]
        assert (
            key.replace(".processor.", ".")
            .replace("_lora.", ".lora.")
            .startswith(f"unet.{layer.removesuffix('.0')}")
        )


def bare(pipeline: Any) -> list[torch.Tensor]:
    """What the base alone makes of one input, its words included."""
    activate(pipeline, {})
    generator = torch.Generator().manual_seed(9)
    ids = torch.randint(3, 4000, (1, 8), generator=generator)
    latents = torch.randn(1, 4, 8, 8, generator=generator)
    with torch.no_grad():
        one, two = (encoder(ids).last_hidden_state
                    for encoder in (pipeline.text_encoder, pipeline.text_encoder_2))  # fmt: skip
        more = {"text_embeds": two[:, 0], "time_ids": torch.ones(1, 6)}
        words = torch.cat([one, two], -1)
        noise = pipeline.unet(latents, torch.tensor(5.0), words, added_cond_kwargs=more).sample
    return [one, two, noise]


def spoilt(state: dict[str, torch.Tensor], harm: str) -> dict[str, torch.Tensor]:
    first, *others = list(state)
    if harm == "half foreign":
        return {("transformer." if n % 2 else "") + k: t for n, (k, t) in enumerate(state.items())}
    if harm.endswith("."):
        return {harm + k.removeprefix("unet."): t for k, t in state.items()}
    if harm == "half a layer":
        return {k: state[k] for k in others}
    if harm == "not finite":
        return state | {first: state[first] * torch.nan}
    if harm == "wide":
        return state | {first: state[first].repeat(1, 2)}
    if harm == "twice":
        return state | {first.replace("lora_A", "lora_down"): state[first] + 1}
    return state | {f"{first.removesuffix('.lora_A.weight')}.{harm}": torch.ones(1)}


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        ("transformer.", r"no place here \(transformer\."),
        ("base_model.model.unet.", "no place here"),
        ("model.diffusion_model.", r"no place here \(model\."),
        ("half foreign", r"no place here \(transformer\."),
        ("half a layer", "lacks a half"),
        ("not finite", "not finite"),
        ("wide", "another size here"),
        ("twice", "no place here"),
        ("dora_scale", "another kind"),
        ("lora_mid.weight", "another kind"),
        ("lokr_w1", "another kind"),
        ("hada_w1_a", "another kind"),
        ("oft_diag", "another kind"),
        ("diff", "another kind"),
        ("lora_B.bias", "another kind"),
    ],
)
def test_a_refused_lora_is_told_by_its_tensors_and_leaves_the_base_as_it_was(
    whole, pipeline, layers, tmp_path, harm, told
) -> None:
    made = drawn_up({"unet": layers["unet"], "text_encoder": {}, "text_encoder_2": {}}, r"to_[qk]$")
    state = spoilt(diffusers(made, (".lora_A.weight", ".lora_B.weight")), harm)
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "lora.safetensors")
    with pytest.raises(ModelError, match=told):
        load_lora(pipeline, layers, "spoilt", tmp_path / "lora.safetensors")
    assert all(torch.equal(*two) for two in zip(whole[2], bare(pipeline), strict=True))


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ({"init_lora_weights": "pissa_niter_4"}, "path_initial_model_for_weight_conversion"),
        ({"bias": "all"}, "bias = all"),
        ({"what_comes_next_year": {"a": 1}}, "what_comes_next_year"),
        ({"lora_alpha": None}, "lora_alpha = None"),
        ({"use_dora": True}, "not whole"),
        ({"r": 8}, "has rank 4 instead of 8"),
        ({"modules_to_save": ["conv_in"]}, r"more than a LoRA for pictures \(modules_to_save\)"),
        ({"target_parameters": ["conv_in"]}, "target_parameters"),
        ({"peft_type": "LOHA"}, "LOHA"),
    ],
)
def test_a_setting_that_means_more_is_refused_by_name(layers, tmp_path, line, told) -> None:
    folder = save_peft(by_peft(), tmp_path / "lora")
    config = folder / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | line))
    with pytest.raises(ModelError, match=told):
        read_lora("odd", folder, layers)


def test_a_load_that_fails_on_its_way_leaves_the_base_as_it_was(whole, pipeline, tmp_path) -> None:
    file = tmp_path / "lora.safetensors"
    save_file(kohya(drawn_up(whole[1], ATTENTION)), file)
    for name in ("a.name.that.torch.refuses", "moss", "another.such.name", "fern"):
        if "." in name:
            with pytest.raises(ModelError, match="cannot be loaded"):
                load_lora(pipeline, whole[1], name, file)
        else:
            load_lora(pipeline, whole[1], name, file)
        assert all(torch.equal(*two) for two in zip(whole[2], bare(pipeline), strict=True))
    activate(pipeline, {"fern": 1.0})
    assert pipeline.get_list_adapters()["unet"] == ["moss", "fern"]


def test_a_bases_layers_are_the_same_on_disk_and_in_memory(layers, tmp_path) -> None:
    assert layers_in(make_base(tmp_path / "base")) == layers

"""Rows of one UNet pass with LoRAs of their own: each is what it is alone, by PEFT's own code.

`pytest -m gpu` runs the comparison on CUDA, in float32; it needs only torch, diffusers and PEFT.
"""

from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tiny_sdxl import make_pipeline

from engine.backends.diffusion.loras import RowLoras, Strengths, activate, load_lora
from engine.weights.picture_layers import layers_of

pytestmark = pytest.mark.filterwarnings("ignore:Already found a `peft_config`:UserWarning")
KINDS = ("to_q", "to_k", "to_out.0", "conv1", "conv2", "time_emb_proj", "conv_shortcut", "proj_in")
ROWS: tuple[Strengths, ...] = (
    (("moss", 1.0),), (), (("fern", 0.7),), (("moss", 0.4), ("reed", -1.0)),
    (("reed", 1.0),), (("fern", 1.0), ("moss", 1.0)), (("fern", 0.1),), (("moss", 1.0),),
)  # fmt: skip
DEVICES = ("cpu", pytest.param("cuda", marks=pytest.mark.gpu))


@pytest.fixture(scope="module", params=DEVICES)
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A tiny SDXL with three LoRAs of unlike ranks and layers."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no accelerator")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    made = make_pipeline()
    layers, folder = layers_of(made), tmp_path_factory.mktemp("loras")
    for rank, name in enumerate(("moss", "fern", "reed"), 2):
        draw, state = torch.Generator().manual_seed(rank), {}
        for layer, (out, wide, *edge) in layers["unet"].items():
            if layer.endswith(KINDS[: len(KINDS) - rank + 2]):
                down = torch.randn(rank, wide, *edge, generator=draw) * 0.3
                up = torch.randn(out, rank, *[1] * len(edge), generator=draw) * 0.3
                state |= {f"unet.{layer}.lora_A.weight": down, f"unet.{layer}.lora_B.weight": up}
        save_file(state, folder / f"{name}.safetensors")
        load_lora(made, layers, name, folder / f"{name}.safetensors")
    return made.to(request.param)


def seen(unet: Any, rows: slice) -> torch.Tensor:
    """What the UNet makes of those of eight rows that are asked for."""
    draw, device = torch.Generator().manual_seed(9), unet.device
    latents, states = torch.randn(8, 4, 8, 8, generator=draw), torch.randn(8, 7, 24, generator=draw)
    pooled, times = torch.randn(8, 16, generator=draw), torch.arange(100.0, 900.0, 100.0)
    more = {
        "text_embeds": pooled[rows].to(device),
        "time_ids": torch.ones(8, 6, device=device)[rows],
    }
    with torch.no_grad():
        return unet(
            latents[rows].to(device), times[rows].to(device), states[rows].to(device),
            added_cond_kwargs=more,
        ).sample  # fmt: skip


@pytest.fixture(scope="module")
def alone(pipeline: Any) -> list[torch.Tensor]:
    """Each row by itself, its LoRAs switched on by PEFT."""
    found = []
    for number, row in enumerate(ROWS):
        activate(pipeline, dict(row))
        found.append(seen(pipeline.unet, slice(number, number + 1)))
    activate(pipeline, {})
    return found


@pytest.mark.parametrize("count", range(1, 9))
def test_a_row_is_what_it_is_alone(pipeline: Any, alone: list[torch.Tensor], count: int) -> None:
    rows = RowLoras(pipeline.unet)
    rows.meet(ROWS[:count])
    found = seen(pipeline.unet, slice(0, count))
    rows.leave()
    whole = torch.cat(alone[:count])
    assert float((found - whole).norm() / whole.norm()) < 1e-5
    base = seen(pipeline.unet, slice(0, count))
    assert float((base - whole).norm() / whole.norm()) > 1e-2, "LoRAs are seen, and leave"


def test_rows_may_change_places_and_go_between_two_passes(pipeline: Any, alone) -> None:
    rows = RowLoras(pipeline.unet)
    for first, last in ((0, 8), (3, 6), (1, 2), (4, 8)):
        rows.meet(ROWS[first:last])
        whole = torch.cat(alone[first:last])
        off = seen(pipeline.unet, slice(first, last)) - whole
        assert float(off.norm() / whole.norm()) < 1e-5
    rows.leave()


def test_numbers_of_one_lora_that_are_not_finite_reach_no_other_row(pipeline: Any, alone) -> None:
    weights = [layer.lora_A["reed"].weight for layer in pipeline.unet.modules()
               if "reed" in getattr(layer, "lora_A", ())]  # fmt: skip
    kept = [weight.data.clone() for weight in weights]
    rows = RowLoras(pipeline.unet)
    try:
        for weight in weights:
            weight.data.fill_(float("inf"))
        rows.meet(ROWS)
        found = seen(pipeline.unet, slice(0, 8))
    finally:
        rows.leave()
        for weight, before in zip(weights, kept, strict=True):
            weight.data.copy_(before)
    for number, row in enumerate(ROWS):
        if "reed" in dict(row):
            assert not found[number].isfinite().all()
        else:
            torch.testing.assert_close(found[number], alone[number][0], rtol=1e-4, atol=1e-5)

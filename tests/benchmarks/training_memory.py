"""The most bytes of tensors that a LoRA of SDXL's true shape needs at once, without computing any.

Tensors are on PyTorch's meta device: they have sizes and no contents, so a processor tells in seconds
what a GPU would have to hold. What cuDNN and the allocator take besides is not in it: about 1 GiB more.
"""

import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.backends.diffusion.pipeline import tile
from tests.benchmarks.figures import Figure, clock
from tests.benchmarks.training_step import SDXL_UNET, TOKENS
from training.images.bases import add_lora
from training.images.tables import ImageLora

SIDE = 1024
RANK = 32
VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": SIDE,
}


class Peak(TorchDispatchMode):
    """Count the bytes of a model and of the tensors alive beside it, and the most there ever were."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.now = self.most = weights(model)
        self.known = {weight.untyped_storage()._cdata for weight in model.parameters()}

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = call(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self.count(tensor.untyped_storage())
        return found

    def count(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self.known:
            return

        def freed() -> None:
            self.known.discard(key)
            self.now -= size

        self.known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        weakref.finalize(storage, freed)


class Attention(torch.autograd.Function):
    """Keep what a GPU's fused attention keeps: no scores. The meta device would have them."""

    @staticmethod
    def forward(context: Any, query: Any, key: Any, value: Any) -> Any:
        found = torch.empty_like(query)
        context.save_for_backward(query, key, value, found)
        return found

    @staticmethod
    def backward(context: Any, *_: Any) -> Any:
        return tuple(torch.empty_like(tensor) for tensor in context.saved_tensors[:3])


def fused(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> Any:
    return Attention.apply(query, key, value)


def weights(model: Any) -> int:
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())


def vae_peaks() -> dict[str, int]:
    """Encode whole; decode whole and in tiles, with the weights, in fp32."""
    from diffusers import AutoencoderKL

    vae = AutoencoderKL(**VAE).eval().requires_grad_(False)
    peaks = {}
    with torch.no_grad():
        with Peak(vae) as peak:
            vae.encode(torch.randn(1, 3, SIDE, SIDE)).latent_dist.mean.sum()
        peaks["encode whole, fp32"] = peak.most
        for name in ("whole", "in tiles"):
            if name == "in tiles":
                tile(vae)
            with Peak(vae) as peak:
                vae.decode(torch.randn(1, 4, SIDE // 8, SIDE // 8))
            peaks[f"decode {name}, fp32"] = peak.most
    return peaks


def step_peak(batch: int, checkpointing: bool, side: int = SIDE) -> int:
    """One step of a LoRA of rank 32 on a bf16 UNet: weights, activations, gradients, AdamW's state."""
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel.from_config(SDXL_UNET).to(torch.bfloat16).requires_grad_(False)
    add_lora(SimpleNamespace(unet=unet), ImageLora(rank=RANK, alpha=RANK), 0)
    trained = [weight for weight in unet.parameters() if weight.requires_grad]
    state = 2 * sum(weight.numel() * weight.element_size() for weight in trained)
    if checkpointing:
        unet.enable_gradient_checkpointing()
    unet.train()
    given = (batch, 4, side // 8, side // 8)
    with Peak(unet) as peak:
        answer = unet(
            torch.randn(given, dtype=torch.bfloat16),
            torch.zeros(batch, dtype=torch.long),
            encoder_hidden_states=torch.randn(batch, TOKENS, 2048, dtype=torch.bfloat16),
            added_cond_kwargs={
                "text_embeds": torch.randn(batch, 1280, dtype=torch.bfloat16),
                "time_ids": torch.zeros(batch, 6),
            },
        ).sample
        answer.float().square().mean().backward()
    return peak.most + state


def run(folder: Path) -> list[Figure]:
    """GiB of each, at 1024 pixels."""
    figures = []
    torch.nn.functional.scaled_dot_product_attention = fused
    with torch.device("meta"), clock() as taken:
        peaks = vae_peaks()
        for batch, checkpointing in ((1, True), (2, True), (1, False)):
            kept = "checkpointing" if checkpointing else "no checkpointing"
            peaks[f"LoRA step, batch {batch}, {kept}"] = step_peak(batch, checkpointing)
        peaks["LoRA step, batch 1, checkpointing, 768 px"] = step_peak(1, True, 768)
    for name, size in peaks.items():
        seconds = {"wall_seconds": taken.wall, "cpu_seconds": taken.cpu}
        figures.append(Figure(name=name, value=size / 2**30, unit="GiB", **seconds))
    return figures

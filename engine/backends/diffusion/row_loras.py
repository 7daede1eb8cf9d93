"""Pictures of several LoRAs in one pass of the UNet: each row meets its own, at its own strength.

The A matrices of the LoRAs in a batch are stacked, so that one product gives everybody's low-rank
numbers; each row keeps its own, times its strength, and one product with the stacked B adds the update.
PEFT's layers hold the matrices and are switched off meanwhile. (Text's way too: mixing.multi_lora.)
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Strengths = tuple[tuple[str, float], ...]  # a row's LoRAs


class RowLoras:
    """Add the rows' updates to the UNet's layers; stacks stay until another LoRA is asked for."""

    def __init__(self, unet: Any) -> None:
        self._unet = unet
        self._names: list[str] = []
        self._hooks: list[Any] = []
        self._table: list[list[float]] = []  # of each row, the strengths of `_names`
        self._own: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}  # by a layer's columns

    def leave(self) -> None:
        """Let nothing act, and give the stacks' memory back."""
        for hook in self._hooks:
            hook.remove()
        self._names, self._hooks, self._table = [], [], []

    def meet(self, rows: Sequence[Strengths]) -> None:
        """Say what each row of the next pass meets; all of it must be loaded."""
        needed = {name for row in rows for name, _ in row}
        if not needed <= set(self._names) or not needed:
            self.leave()
            self._names = sorted(needed)
            for layer in self._unet.modules():
                if mine := [name for name in self._names if name in getattr(layer, "lora_A", ())]:
                    self._hooks.append(layer.register_forward_hook(self._hook(layer, mine)))
        table = [[dict(row).get(name, 0.0) for name in self._names] for row in rows]
        if table != self._table:
            self._table = table
            self._own.clear()

    def _hook(self, layer: Any, names: list[str]) -> Callable[[Any, Any, "Tensor"], "Tensor"]:
        import torch
        import torch.nn.functional as F

        weight = layer.get_base_layer().weight
        tops, ups = ([side[name].weight for name in names] for side in (layer.lora_A, layer.lora_B))
        down, up = torch.cat(tops).to(weight.dtype), torch.cat(ups, 1).to(weight.dtype)
        owners = tuple(self._names.index(n) for n, a in zip(names, tops, strict=True) for _ in a)
        one = layer.lora_A[names[0]]

        def linear(_: Any, inputs: Any, out: "Tensor") -> "Tensor":
            low = F.linear(inputs[0], down)
            low = self._kept(low, owners, (len(low), *[1] * (low.dim() - 2), -1))
            return torch.addmm(out.flatten(0, -2), low.flatten(0, -2), up.t()).view_as(out)

        def convolution(_: Any, inputs: Any, out: "Tensor") -> "Tensor":
            low = F.conv2d(inputs[0], down, None, one.stride, one.padding, one.dilation)
            return out + F.conv2d(self._kept(low, owners, (len(low), -1, 1, 1)), up)

        return linear if weight.dim() == 2 else convolution

    def _kept(self, low: "Tensor", owners: tuple[int, ...], shape: tuple[int, ...]) -> "Tensor":
        """Keep each row's own columns, at its strengths; others' even where they are not finite."""
        import torch

        if owners not in self._own:
            own = torch.tensor(self._table, device=low.device)[:, list(owners)]
            self._own[owners] = own, own == 0
        strengths, others = self._own[owners]
        return low.mul_(strengths.view(shape)).masked_fill_(others.view(shape), 0.0)

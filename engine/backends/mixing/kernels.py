"""Matrix products with fixed weights: as they are, packed for bf16, or int8 on both sides.

Packed is oneDNN's blocked layout, reordered once instead of at every call. int8 quantises weights by
output channel once, and activations by row at every call, so no row depends on its neighbours. The few
inputs that are outliers stay as they are: a narrow product of their own adds them.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F

from engine.backends.mixing.outliers import OUTLIERS

Precision = Literal["fp32", "bf16", "int8"]
Kernel = Callable[[torch.Tensor], torch.Tensor]
Sum = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

ROWS_HINT = 16  # oneDNN chooses its blocks for about so many rows
LEAST_SCALE = 1e-8
LEAST_SHARE = 16  # one input in so many may be an outlier at most
ZERO, LEVELS = 128, 127  # of eight bits, to each side of zero


def make_kernel(weight: torch.Tensor, bias: torch.Tensor | None, precision: Precision) -> Kernel:
    """x [rows, in] of any float type -> x @ weight.T + bias, [rows, out], in the precision's type.

    `weight` is [out, in]. Not for int8, see `quantised`.
    """
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    offset = None if bias is None else bias.to(dtype)
    plain = weight.to(dtype).contiguous()
    if precision == "bf16" and plain.device.type == "cpu" and torch._C._has_mkldnn:
        return _packed(plain, offset)
    return lambda x: F.linear(x.to(dtype), plain, offset)


def make_sum(weight: torch.Tensor) -> Sum:
    """(x [rows, in], y [rows, out]) in bfloat16 -> y + x @ weight.T, which may be y itself."""
    if weight.device.type == "cpu" and torch._C._has_mkldnn:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16().contiguous(), ROWS_HINT)
        linear = torch.ops.mkldnn._linear_pointwise.binary
        return lambda x, y: linear(x, y, packed, None, "add")
    plain = weight.bfloat16().t().contiguous()
    return lambda x, y: y.addmm_(x, plain)


def _packed(weight: torch.Tensor, bias: torch.Tensor | None) -> Kernel:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS_HINT)
    linear = torch.ops.mkldnn._linear_pointwise

    def product(x: torch.Tensor) -> torch.Tensor:
        return linear(x.bfloat16(), packed, bias, "none", [], "")  # type: ignore[no-any-return]

    return product


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """An int8 product that knows nothing of the inputs `columns`; `weight` [out, columns] is theirs."""

    kernel: Kernel
    columns: torch.Tensor
    weight: torch.Tensor

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """x [rows, in] in float32 -> [rows, out], of all inputs."""
        x = x.float()
        return self.kernel(x).addmm_(x.index_select(1, self.columns), self.weight.t())


def quantised(weight: torch.Tensor, bias: torch.Tensor | None, sizes: torch.Tensor) -> Quantised:
    """Of [out, in]; `sizes` [in] are the inputs' greatest, as seen before."""
    columns = sizes.topk(min(OUTLIERS, len(sizes) // LEAST_SHARE)).indices
    full = weight.detach().float().clone()
    wild = full[:, columns].contiguous()
    full[:, columns] = 0.0
    packed = _prepacked(full)
    ordinary = torch.ones(len(sizes)).index_fill_(0, columns, 0.0)
    offset = None if bias is None else bias.detach().float()
    linear = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32

    def product(x: torch.Tensor) -> torch.Tensor:
        tame = x * ordinary
        size = tame.abs().amax(
            1, keepdim=True
        )  # of a row of zeros nothing is left by it in the end
        y = linear(tame.div_(size), 1 / LEVELS, ZERO, packed).mul_(size)
        return y if offset is None else y.add_(offset)  # type: ignore[no-any-return]

    return Quantised(kernel=product, columns=columns, weight=wild)


def _prepacked(weight: torch.Tensor) -> torch.ScriptObject:
    scales = weight.abs().amax(1).clamp_min(LEAST_SCALE).double() / LEVELS
    zeros = torch.zeros(len(weight), dtype=torch.long)
    with warnings.catch_warnings():  # torch 2.13, which is pinned, means to replace this some day
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
        whole = torch.quantize_per_channel(weight, scales, zeros, 0, torch.qint8)
        return torch.ops.quantized.linear_prepack(whole, None)  # type: ignore[no-any-return]

"""Matrix products with fixed weights: as they are, packed for bf16, or int8 on both sides.

Packed is oneDNN's blocked layout, reordered once instead of at every call. int8 quantises weights by
output channel once, and activations by row at every call, so that a row's result does not depend on
its neighbours beyond the rounding of a shared scale.
"""

import warnings
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F

Precision = Literal["fp32", "bf16", "int8"]
Kernel = Callable[[torch.Tensor], torch.Tensor]
Sum = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

ROWS_HINT = 16  # oneDNN chooses its blocks for about so many rows
LEAST_SCALE = 1e-8


def activation_dtype(precision: Precision) -> torch.dtype:
    """What a kernel of the precision takes and gives."""
    return torch.float32 if precision == "fp32" else torch.bfloat16


def make_kernel(weight: torch.Tensor, bias: torch.Tensor | None, precision: Precision) -> Kernel:
    """x [rows, in] -> x @ weight.T + bias, [rows, out]; `weight` is [out, in] of any float type."""
    dtype = activation_dtype(precision)
    if precision == "int8":
        return _quantised(weight, None if bias is None else bias.float())
    offset = None if bias is None else bias.to(dtype)
    plain = weight.to(dtype).contiguous()
    if precision == "bf16" and plain.device.type == "cpu" and torch._C._has_mkldnn:
        return _packed(plain, offset)
    return lambda x: F.linear(x, plain, offset)


def make_sum(weight: torch.Tensor, precision: Precision) -> Sum:
    """(x [rows, in], y [rows, out]) -> y + x @ weight.T, which may be y itself; never quantised."""
    if precision == "bf16" and weight.device.type == "cpu" and torch._C._has_mkldnn:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16().contiguous(), ROWS_HINT)
        linear = torch.ops.mkldnn._linear_pointwise.binary
        return lambda x, y: linear(x, y, packed, None, "add")
    plain = weight.to(activation_dtype(precision)).t().contiguous()
    return lambda x, y: y.addmm_(x, plain)


def _packed(weight: torch.Tensor, bias: torch.Tensor | None) -> Kernel:
    packed = torch.ops.mkldnn._reorder_linear_weight(weight, ROWS_HINT)
    linear = torch.ops.mkldnn._linear_pointwise

    def product(x: torch.Tensor) -> torch.Tensor:
        return linear(x, packed, bias, "none", [], "")  # type: ignore[no-any-return]

    return product


def _quantised(weight: torch.Tensor, bias: torch.Tensor | None) -> Kernel:
    full = weight.float()
    scales = full.abs().amax(1).clamp_min(LEAST_SCALE).double() / 127
    zeros = torch.zeros(len(full), dtype=torch.long)
    with warnings.catch_warnings():  # torch 2.13, which is pinned, means to replace this some day
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor", UserWarning)
        whole = torch.quantize_per_channel(full, scales, zeros, 0, torch.qint8)
        packed = torch.ops.quantized.linear_prepack(whole, None)
    linear = torch.ops.quantized.linear_dynamic

    def product(x: torch.Tensor) -> torch.Tensor:
        full = x.float()
        size = torch.linalg.vector_norm(full, float("inf"), 1, keepdim=True)
        # A row that is not finite must not spoil the scale of the others; its size keeps it unfit.
        small = torch.nan_to_num_(full / size, 0.0, 0.0, 0.0)
        y = linear(small, packed, reduce_range=False).mul_(size)
        return (y if bias is None else y.add_(bias)).to(x.dtype)  # type: ignore[no-any-return]

    return product

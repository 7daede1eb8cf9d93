"""Matrix products with fixed weights, in float32 as they are or, for bfloat16, packed into oneDNN's
blocked layout once instead of at every call."""

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F

Precision = Literal["fp32", "bf16"]
Kernel = Callable[[torch.Tensor], torch.Tensor]
Sum = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]

ROWS_HINT = 16  # rows that oneDNN chooses its blocks for


def make_kernel(weight: torch.Tensor, bias: torch.Tensor | None, precision: Precision) -> Kernel:
    """x [rows, in] of any float type -> x @ weight.T + bias, [rows, out], in the precision's type."""
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    offset = None if bias is None else bias.to(dtype)
    plain = weight.to(dtype).contiguous()
    if precision == "fp32" or plain.device.type != "cpu" or not torch._C._has_mkldnn:
        return lambda x: F.linear(x.to(dtype), plain, offset)
    packed = torch.ops.mkldnn._reorder_linear_weight(plain, ROWS_HINT)
    linear = torch.ops.mkldnn._linear_pointwise
    return lambda x: linear(x.bfloat16(), packed, offset, "none", [], "")


def make_sum(weight: torch.Tensor) -> Sum:
    """(x [rows, in], y [rows, out]) in bfloat16 -> y + x @ weight.T, which may be y itself."""
    if weight.device.type == "cpu" and torch._C._has_mkldnn:
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16().contiguous(), ROWS_HINT)
        linear = torch.ops.mkldnn._linear_pointwise.binary
        return lambda x, y: linear(x, y, packed, None, "add")
    plain = weight.bfloat16().t().contiguous()
    return lambda x, y: y.addmm_(x, plain)

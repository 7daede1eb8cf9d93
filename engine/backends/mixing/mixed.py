"""Linears that several adapters share: one product for all rows, each row's own update upon it.

The A matrices of the experts in a batch are stacked, so one product gives every expert's low-rank
activations; a mask keeps each row's own, and one product with the stacked B adds the update. Nothing
is sorted, switched or merged. A batch of one expert uses its own A and B, without a mask.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from engine.backends.mixing.adapters import Adapter
from engine.backends.mixing.kernels import Kernel, Precision, Sum, make_kernel, make_sum

STACKS = 8  # of the last sets of experts that sat in a batch together


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """The updates of some experts on one linear, as products: `a` to the experts' k low-rank numbers,
    `b` from them onto the output; `widths` sum to k."""

    a: Kernel
    b: Sum
    widths: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Mix:
    """Which row meets which expert, in one step. `who` [rows] is an index into the stacks' experts, -1
    for none; it is None if all rows meet the only one."""

    stacks: Sequence[Stack | None]
    who: torch.Tensor | None
    masks: dict[tuple[int, ...], torch.Tensor]

    def own(self, h: torch.Tensor, widths: tuple[int, ...]) -> torch.Tensor:
        """h [rows, k] with every other expert's columns zero, whatever stood in them."""
        if self.who is None:
            return h
        mask = self.masks.get(widths)
        if mask is None:
            column = torch.repeat_interleave(torch.tensor(widths)).to(self.who.device)
            mask = self.masks[widths] = self.who[:, None] != column
        return h.masked_fill_(mask, 0.0)


NO_MIX = Mix(stacks=(), who=None, masks={})


class MixedLinear:
    """One or several linears of the same input, side by side (q, k and v; gate and up)."""

    def __init__(
        self,
        number: int,
        names: Sequence[str],
        linears: Sequence[torch.nn.Linear],
        precision: Precision,
    ) -> None:
        """`number` is its place among the decoder's; `names` are the adapters' for its linears."""
        self.names = tuple(names)
        self.shapes = {
            n: (x.out_features, x.in_features) for n, x in zip(names, linears, strict=True)
        }
        self._number = number
        self._precision = precision
        self._out = sum(linear.out_features for linear in linears)
        weight = torch.cat([linear.weight.detach() for linear in linears])
        bias = None
        if any(linear.bias is not None for linear in linears):
            bias = torch.cat(
                [
                    torch.zeros(x.out_features) if x.bias is None else x.bias.detach()
                    for x in linears
                ]
            )
        self._device = weight.device
        self._kernel: Kernel = make_kernel(weight, bias, precision)

    def __call__(self, x: torch.Tensor, mix: Mix) -> torch.Tensor:
        """x [rows, in] -> [rows, out], every row with its own expert's update."""
        y = self._kernel(x)
        stack = mix.stacks[self._number] if mix.stacks else None
        if stack is None:
            return y
        return stack.b(mix.own(stack.a(x), stack.widths), y)

    def stack(self, adapters: Iterable[Adapter]) -> Stack | None:
        """The adapters' updates side by side; None if none of them touches this linear."""
        tops, parts, widths = [], [], []
        for adapter in adapters:
            width, start = 0, 0
            for name in self.names:
                out = self.shapes[name][0]
                if name in adapter:
                    a, b = adapter[name]
                    tops.append(a)
                    parts.append(F.pad(b, (0, 0, start, self._out - start - out)))
                    width += len(a)
                start += out
            widths.append(width)
        if not tops:
            return None
        plain: Precision = "fp32" if self._precision == "fp32" else "bf16"
        down = make_kernel(torch.cat(tops).to(self._device), None, plain)
        up = make_sum(torch.cat(parts, 1).to(self._device), plain)
        return Stack(a=down, b=up, widths=tuple(widths))


class Stacks:
    """The stacks of the last sets of experts, built when a set first sits together."""

    def __init__(self, linears: Sequence[MixedLinear]) -> None:
        self._linears = linears
        self._sets: OrderedDict[tuple[str, ...], tuple[Stack | None, ...]] = OrderedDict()

    def forget(self, expert: str) -> None:
        """Its adapter was replaced or has left."""
        for names in [names for names in self._sets if expert in names]:
            del self._sets[names]

    def mix(self, experts: Sequence[str], adapters: dict[str, Adapter]) -> Mix:
        """For rows of these experts; one without an adapter is none."""
        present = tuple(sorted({name for name in experts if name in adapters}))
        if not present:
            return NO_MIX
        if present not in self._sets:
            while len(self._sets) >= STACKS:
                self._sets.popitem(last=False)
            own = [adapters[name] for name in present]
            self._sets[present] = tuple(linear.stack(own) for linear in self._linears)
        self._sets.move_to_end(present)
        who = None
        if len(present) > 1 or any(name not in adapters for name in experts):
            place = {name: number for number, name in enumerate(present)}
            who = torch.tensor([place.get(name, -1) for name in experts])
        return Mix(stacks=self._sets[present], who=who, masks={})

"""Linears that several adapters share: one product for all rows, each row's own update upon it.

The A matrices of the experts in a batch are stacked, so one product gives every expert's low-rank
activations; a mask keeps each row's own, and one product with the stacked B adds the update. Nothing
is sorted, switched or merged. A batch of one expert uses its own A and B, without a mask. In int8 the
outliers ride along, as the update of an adapter that every row has.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from engine.backends.mixing.adapters import BARE, Adapter, AdapterKey
from engine.backends.mixing.kernels import (
    Kernel,
    Precision,
    Quantised,
    Sum,
    make_kernel,
    make_sum,
    quantised,
)

STACKS = 8  # of the last sets of adapters that sat in a batch together
FEW = 4  # rows times experts: up to so many, plain float32 products beat packed ones, which start slowly
EVERYONES = -2  # the owner of columns that are every row's


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """The updates of some experts on one linear: the first product gives the low-rank numbers, the
    second adds what they mean to the output. `owners` [low-rank numbers] are places among the experts.

    `plain` are the two as float32 matrices [in, k] and [k, out], for `few` rows and fewer; `packed` are
    for more.
    """

    packed: tuple[Kernel, Sum] | None
    plain: tuple[torch.Tensor, torch.Tensor] | None
    few: int
    owners: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Mix:
    """Which row meets which expert, in one step. `who` [rows] is an index into the stacks' experts, -1
    for none; it is None if all rows meet the only one."""

    stacks: Sequence[Stack | None]
    who: torch.Tensor | None
    masks: dict[tuple[int, ...], torch.Tensor]

    def own(self, h: torch.Tensor, owners: tuple[int, ...]) -> torch.Tensor:
        """h [rows, k] with every other expert's columns zero, whatever stood in them."""
        if self.who is None:
            return h
        mask = self.masks.get(owners)
        if mask is None:
            column = torch.tensor(owners, device=self.who.device)
            mask = (self.who[:, None] != column) & (column != EVERYONES)
            self.masks[owners] = mask
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
        sizes: torch.Tensor | None = None,
    ) -> None:
        """`number` is its place among the decoder's; `names` are the adapters' for its linears. int8
        needs its inputs' `sizes`."""
        self.names = tuple(names)
        self.shapes = {
            n: (x.out_features, x.in_features) for n, x in zip(names, linears, strict=True)
        }
        self._number = number
        self._full = precision == "fp32"
        self._out = sum(linear.out_features for linear in linears)
        weight = torch.cat([linear.weight.detach() for linear in linears])
        bias = None
        if any(linear.bias is not None for linear in linears):
            bias = torch.cat(
                [
                    x.weight.new_zeros(x.out_features) if x.bias is None else x.bias.detach()
                    for x in linears
                ]
            )
        self.device = weight.device
        self._outliers: Quantised | None = None
        if precision == "int8":
            assert sizes is not None
            self._outliers = quantised(weight, bias, sizes)
        self._kernel: Kernel = (
            self._outliers.kernel if self._outliers else make_kernel(weight, bias, precision)
        )

    def __call__(self, x: torch.Tensor, mix: Mix) -> torch.Tensor:
        """x [rows, in] -> [rows, out], every row with its own expert's update."""
        stack = mix.stacks[self._number] if mix.stacks else None
        if stack is None:
            return self._alone(x)
        if stack.packed is None or (stack.plain is not None and len(x) <= stack.few):
            assert stack.plain is not None
            a, b = stack.plain
            y = self._kernel(x).float()
            return y.addmm_(mix.own(torch.mm(x.float(), a), stack.owners), b)
        low, up = stack.packed
        half = x.bfloat16()
        y = self._kernel(x if self._outliers else half).bfloat16()
        return up(mix.own(low(half), stack.owners), y)

    def _alone(self, x: torch.Tensor) -> torch.Tensor:
        """[rows, out] without any update."""
        return self._kernel(x) if self._outliers is None else self._outliers(x)

    def stack(self, adapters: Iterable[Adapter]) -> Stack | None:
        """The adapters' updates side by side; None if nothing touches this linear."""
        tops, parts, owners = [], [], []
        if self._outliers is not None:
            width = sum(self.shapes[self.names[0]][1:])
            tops.append(F.one_hot(self._outliers.columns, width).float())
            parts.append(self._outliers.weight)
            owners += [EVERYONES] * len(self._outliers.columns)
        experts = 0
        for owner, adapter in enumerate(adapters):
            start, experts = 0, experts + 1
            for name in self.names:
                out = self.shapes[name][0]
                if name in adapter:
                    a, b = adapter[name]
                    tops.append(a)
                    parts.append(F.pad(b, (0, 0, start, self._out - start - out)))
                    owners += [owner] * len(a)
                start += out
        if not tops:
            return None
        a, b = torch.cat(tops).to(self.device), torch.cat(parts, 1).to(self.device)
        few = FEW // max(1, experts)
        plain = (a.t().contiguous(), b.t().contiguous()) if few or self._full else None
        packed = None if self._full else (make_kernel(a, None, "bf16"), make_sum(b))
        return Stack(packed=packed, plain=plain, few=few, owners=tuple(owners))


class Stacks:
    """The stacks of the last sets of adapters, built when a set first sits together."""

    def __init__(self, linears: Sequence[MixedLinear]) -> None:
        self._linears = linears
        self._sets: OrderedDict[tuple[AdapterKey, ...], tuple[Stack | None, ...]] = OrderedDict()

    def forget(self, key: AdapterKey) -> None:
        """Drop what was built with an adapter that has left."""
        for keys in [keys for keys in self._sets if key in keys]:
            del self._sets[keys]

    def mix(self, rows: Sequence[AdapterKey], adapters: Mapping[AdapterKey, Adapter]) -> Mix:
        """Say which row meets which of the adapters; BARE meets none."""
        present = tuple(sorted({key for key in rows if key != BARE}))
        if not present:
            return NO_MIX
        if present not in self._sets:
            while len(self._sets) >= STACKS:
                self._sets.popitem(last=False)
            own = [adapters[key] for key in present]
            self._sets[present] = tuple(linear.stack(own) for linear in self._linears)
        self._sets.move_to_end(present)
        who = None
        if len(present) > 1 or BARE in rows:
            place = {key: number for number, key in enumerate(present)}
            who = torch.tensor([place.get(key, -1) for key in rows], device=self._linears[0].device)
        return Mix(stacks=self._sets[present], who=who, masks={})

"""Linears that several adapters share: one product for all rows, each row's own update upon it.

The A matrices of the experts in a batch are stacked, so one product gives every expert's low-rank
activations; a mask keeps each row's own, and one product with the stacked B adds the update. Nothing
is sorted, switched or merged. A batch of one expert uses its own A and B, without a mask.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from engine.backends.mixing.adapters import BARE, Adapter, AdapterKey
from engine.backends.mixing.kernels import Kernel, Precision, Sum, make_kernel, make_sum

STACKS = 8  # of the last sets of adapters that sat in a batch together
FEW = 4  # rows times experts up to which float32 products beat packed ones, which start slowly


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """Hold some experts' A and B on one linear: first A·x, k numbers, then B·(A·x) added to the output.

    `owners` [k] are indices among the experts, `columns` the same on the device. `plain` are the two
    as float32 matrices [in, k] and [k, out], for `few` rows and fewer; `packed` are for more.
    """

    packed: tuple[Kernel, Sum] | None
    plain: tuple[torch.Tensor, torch.Tensor] | None
    few: int
    owners: tuple[int, ...]
    columns: torch.Tensor


@dataclass(slots=True, eq=False)
class Mix:
    """Say which row meets which expert in one step: `who` [rows] is an index into the stacks' experts,
    -1 for none; it is None if all rows meet the only one."""

    stacks: Sequence[Stack | None]
    who: torch.Tensor | None
    masks: dict[tuple[int, ...], torch.Tensor]

    def own(self, h: torch.Tensor, stack: Stack) -> torch.Tensor:
        """Zero every other expert's columns of h [rows, k], even where they are not finite."""
        if self.who is None:
            return h
        mask = self.masks.get(stack.owners)
        if mask is None:
            mask = self.masks[stack.owners] = self.who[:, None] != stack.columns
        return h.masked_fill_(mask, 0.0)


NO_MIX = Mix(stacks=(), who=None, masks={})


class MixedLinear:
    """Multiply by linears of the same input (q, k and v; gate and up), mixing updates in."""

    def __init__(
        self,
        number: int,
        weights: Mapping[str, torch.Tensor],
        biases: Sequence[torch.Tensor | None],
        precision: Precision,
    ) -> None:
        """`number` is its index among the decoder's; `weights` [out, in] have the adapters' names."""
        self.shapes = {name: (len(x), x.shape[1]) for name, x in weights.items()}
        self._number = number
        self._full = precision == "fp32"
        self._out = sum(map(len, weights.values()))
        weight = torch.cat(list(weights.values()))
        bias = None
        if any(own is not None for own in biases):
            pairs = zip(weights.values(), biases, strict=True)
            bias = torch.cat([w.new_zeros(len(w)) if b is None else b for w, b in pairs])
        self.device = weight.device
        self._kernel = make_kernel(weight, bias, precision)

    def __call__(self, x: torch.Tensor, mix: Mix) -> torch.Tensor:
        """x [rows, in] -> [rows, out], every row with its own expert's update."""
        stack = mix.stacks[self._number] if mix.stacks else None
        if stack is None:
            return self._kernel(x)
        if stack.packed is None or (stack.plain is not None and len(x) <= stack.few):
            assert stack.plain is not None
            a, b = stack.plain
            y = self._kernel(x).float()
            return y.addmm_(mix.own(torch.mm(x.float(), a), stack), b)
        low, up = stack.packed
        half = x.bfloat16()
        y = self._kernel(half)
        return up(mix.own(low(half), stack), y)

    def stack(self, adapters: Sequence[Adapter]) -> Stack | None:
        """Put the adapters' updates side by side; None if nothing touches this linear."""
        tops, parts, owners = [], [], []
        for owner, adapter in enumerate(adapters):
            start = 0
            for name, (out, _) in self.shapes.items():
                if name in adapter:
                    a, b = adapter[name]
                    tops.append(a)
                    parts.append(F.pad(b, (0, 0, start, self._out - start - out)))
                    owners += [owner] * len(a)
                start += out
        if not tops:
            return None
        a, b = torch.cat(tops).to(self.device), torch.cat(parts, 1).to(self.device)
        few = FEW // len(adapters)
        plain = (a.t().contiguous(), b.t().contiguous()) if few or self._full else None
        packed = None if self._full else (make_kernel(a, None, "bf16"), make_sum(b))
        columns = torch.tensor(owners, device=self.device)
        return Stack(packed, plain, few, tuple(owners), columns)


class Stacks:
    def __init__(self, linears: Sequence[MixedLinear]) -> None:
        self._linears = linears
        self._sets: OrderedDict[tuple[AdapterKey, ...], tuple[Stack | None, ...]] = OrderedDict()

    def forget(self, key: AdapterKey) -> None:
        for keys in [keys for keys in self._sets if key in keys]:
            del self._sets[keys]

    def mix(self, rows: Sequence[AdapterKey], adapters: Mapping[AdapterKey, Adapter]) -> Mix:
        present = tuple(sorted({key for key in rows if key != BARE}))
        if not present:
            return NO_MIX
        who = None
        if len(present) > 1 or BARE in rows:
            place = {key: number for number, key in enumerate(present)}
            who = torch.tensor([place.get(key, -1) for key in rows], device=self._linears[0].device)
        return Mix(stacks=self.of(present, adapters), who=who, masks={})

    def of(
        self, present: tuple[AdapterKey, ...], adapters: Mapping[AdapterKey, Adapter]
    ) -> Sequence[Stack | None]:
        """Give the stacks of these adapters, one a linear; none for none."""
        if not present:
            return ()
        if present not in self._sets:
            while len(self._sets) >= STACKS:
                self._sets.popitem(last=False)
            own = [adapters[key] for key in present]
            self._sets[present] = tuple(linear.stack(own) for linear in self._linears)
        self._sets.move_to_end(present)
        return self._sets[present]

"""LoRAs of pictures in memory: loaded by name beside the others, active one by one.

A LoRA is read and compared with the base's own layers before anything is put into the base, so that one
of another base, or a damaged one, leaves the base as it was.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.backends.model_loading import loading
from engine.weights.picture_layers import Layers
from engine.weights.picture_lora import DOWN, SIZE, UP, Halves, check_lora, read_lora
from engine.weights.weight_files import compared_digest

if TYPE_CHECKING:
    from torch import Tensor


Strengths = tuple[tuple[str, float], ...]  # a row's LoRAs


@dataclass(frozen=True, slots=True)
class Lora:
    """Describe a loaded LoRA; `words` says that it changes the text encoders, `alone` that rows with it
    and without it cannot be drawn in one pass (DoRA)."""

    name: str
    digest: str
    words: bool
    alone: bool = False


def load_lora(pipeline: Any, layers: Layers, name: str, place: Path, digest: str = "") -> Lora:
    """Load a LoRA beside the others. Raises ModelError, and then the base is as it was."""
    check_lora(place)
    found = compared_digest(f"The LoRA of {name}", place, digest)
    updates = read_lora(name, place, layers)
    parts: dict[str, dict[str, Halves]] = {}
    for (part, layer), half in updates.items():
        parts.setdefault(part, {})[layer] = half
    with ExitStack() as stack, loading(f"The LoRA of {name}"):
        for part, own in parts.items():
            model = getattr(pipeline, part)
            stack.enter_context(_undone_if_it_fails(model, name, own))
            _put(model, name, own)
    alone = any(SIZE in half for half in updates.values())
    return Lora(name, found, any(part != "unet" for part, _ in updates), alone)


@contextmanager
def _undone_if_it_fails(model: Any, name: str, layers: Iterable[str]) -> Iterator[None]:
    """Take out what was put in: neither PEFT nor diffusers does (memory may run out half way)."""
    before = {layer: model.get_submodule(layer) for layer in layers}
    adapted = bool(getattr(model, "peft_config", None))
    try:
        yield
    except BaseException:
        for layer, module in before.items():
            if hasattr(module, "lora_A"):
                module.delete_adapter(name)
            model.set_submodule(layer, module)
        if adapted:
            model.peft_config.pop(name, None)
        else:
            vars(model).pop("peft_config", None)
            model._hf_peft_config_loaded = False
        raise


def _put(model: Any, name: str, updates: dict[str, Halves]) -> None:
    """Add layers by PEFT, each at strength 1, and fill them. Raises what PEFT raises."""
    from peft import LoraConfig

    ranks: dict[int, list[str]] = {}
    for layer, half in updates.items():
        ranks.setdefault(half[DOWN].shape[0], []).append(re.escape(layer))
    patterns = {f"^({'|'.join(names)})": rank for rank, names in ranks.items()}
    config = LoraConfig(
        r=1,
        lora_alpha=1,
        rank_pattern=patterns,
        alpha_pattern=patterns,
        target_modules=list(updates),
        use_dora=any(SIZE in half for half in updates.values()),
    )
    model.add_adapter(config, name)
    put = {n: m for n, m in model.named_modules() if name in getattr(m, "lora_A", ())}
    if put.keys() != updates.keys() or any(layer.scaling[name] != 1 for layer in put.values()):
        raise ValueError("its layers are not those of its file")
    for layer, half in updates.items():
        _fill(put[layer].lora_A[name].weight, half[DOWN])
        _fill(put[layer].lora_B[name].weight, half[UP])
        if SIZE in half:
            _fill(put[layer].lora_magnitude_vector[name].weight, half[SIZE])


def _fill(weight: Any, tensor: "Tensor") -> None:
    weight.data.copy_(tensor.reshape(weight.shape))


def activate(pipeline: Any, strengths: dict[str, float]) -> None:
    if strengths:
        pipeline.enable_lora()
        pipeline.set_adapters(list(strengths), list(strengths.values()))
    elif pipeline.get_list_adapters():
        pipeline.disable_lora()


class RowLoras:
    """Let each row of one pass of the UNet meet its own LoRAs, at its own strengths.

    The A matrices of the LoRAs in a batch are stacked, so that one product gives everybody's low-rank
    numbers; each row keeps its own, times its strength, and one product with the stacked B adds it all.
    PEFT's layers hold the matrices and are switched off meanwhile. (Text's way too: mixing.multi_lora.)
    """

    def __init__(self, unet: Any) -> None:
        self._unet = unet
        self._names: list[str] = []
        self._hooks: list[Any] = []
        self._table: list[list[float]] = []  # of each row, the strengths of `_names`
        self._own: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}  # by a layer's columns

    def leave(self) -> None:
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

"""The running average of a LoRA's weights (EMA), which is validated, drawn with and saved."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor

PREFIX = "average."


class Average:
    """Keep diffusers' own EMAModel over the trained weights; decay 0 means none."""

    def __init__(self, weights: dict[str, Tensor], decay: float) -> None:
        from diffusers.training_utils import EMAModel

        self.names, self.weights = list(weights), list(weights.values())
        self.model = EMAModel(self.weights, decay=decay) if decay else None

    def step(self) -> None:
        if self.model is not None:
            self.model.step(self.weights)

    @contextmanager
    def applied(self) -> Iterator[None]:
        if self.model is None:
            yield
            return
        self.model.store(self.weights)
        self.model.copy_to(self.weights)
        try:
            yield
        finally:
            self.model.restore(self.weights)

    def state(self) -> dict[str, Tensor]:
        if self.model is None:
            return {}
        pairs = zip(self.names, self.model.shadow_params, strict=True)
        return {PREFIX + name: tensor.detach().cpu().clone() for name, tensor in pairs}

    def load(self, state: dict[str, Tensor], step: int) -> None:
        if self.model is None:
            return
        self.model.optimization_step = step
        for name, shadow in zip(self.names, self.model.shadow_params, strict=True):
            shadow.copy_(state[PREFIX + name])
